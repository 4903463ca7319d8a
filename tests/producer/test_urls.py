"""URL rules."""

from urllib.parse import parse_qsl, quote, unquote, unquote_to_bytes

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from taskqueue.errors import InvalidTaskError
from taskqueue.producer.urls import task_url

TEXT = st.text(st.characters(exclude_categories=("Cs",)))
PLAIN_TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\\"))


@pytest.mark.parametrize(
    ("given_url", "kept"),
    [
        ("/", "/"),
        ("/a/b", "/a/b"),
        ("a/b", "/a/b"),
        ("//a/b", "/a/b"),
        ("///evil.example/b", "/evil.example/b"),
        ("/a//b", "/a//b"),
        ("/a/", "/a/"),
        ("/a?b=c&d", "/a?b=c&d"),
        ("/a?", "/a"),
        ("/a?b=/c?d:e@f", "/a?b=/c?d:e@f"),
        ("/a:b", "/a:b"),
        ("/a;v=1,2/+~b", "/a;v=1,2/+~b"),
        ("/grün/日本", "/gr%C3%BCn/%E6%97%A5%E6%9C%AC"),
        ("/a b?c d=é", "/a%20b?c%20d=%C3%A9"),
        ("/%e2%82%ac%20%2F", "/%e2%82%ac%20%2F"),
        ("/%ff", "/%ff"),
        ('/<a>"{b}|^`[]', "/%3Ca%3E%22%7Bb%7D%7C%5E%60%5B%5D"),
        ("/...", "/..."),
        ("/a.b/.c/..d", "/a.b/.c/..d"),
        ("/a?b=../c", "/a?b=../c"),
        ("/a?b=%5C%0A", "/a?b=%5C%0A"),
    ],
)
def test_a_path_is_kept_and_encoded_as_utf_8(given_url, kept):
    assert task_url(given_url) == kept


@pytest.mark.parametrize(
    ("given_url", "why"),
    [
        ("", "no path"),
        ("?a=b", "no path"),
        ("http://host/a", "scheme or a host"),
        ("HTTPS:a", "scheme or a host"),
        ("mailto:a@b", "scheme or a host"),
        ("javascript:alert(1)", "scheme or a host"),
        ("localhost:8080/a", "scheme or a host"),
        ("127.0.0.1:80/a", "scheme or a host"),
        ("[::1]/a", "scheme or a host"),
        (" http://host/a", "scheme or a host"),
        ("/a\\b", "backslash"),
        ("\\\\host\\a", "backslash"),
        ("/a?b=\\", "backslash"),
        ("/a%5cb", "backslash"),
        ("/a\nb", "control character"),
        ("/a\x00", "control character"),
        ("/a\x7f", "control character"),
        ("/a\x85", "control character"),
        ("/a?b=\r\nc", "control character"),
        ("/a%00b", "control character"),
        ("/a%0d%0Ab", "control character"),
        ("/a%7F", "control character"),
        ("/a?b=%00", "NUL"),
        ("/.", "segment"),
        ("/..", "segment"),
        ("../a", "segment"),
        ("/a/../b", "segment"),
        ("/a/./b", "segment"),
        ("/a/%2e%2e/b", "segment"),
        ("/a/%2E%2e/b", "segment"),
        ("/a/.%2E", "segment"),
        ("/a/%2e", "segment"),
        ("/a/..%2fb", "segment"),
        ("/a%2F..%2Fb", "segment"),
        ("/a%2f%2e%2e", "segment"),
        ("/a/%252e%252e/b", "segment"),
        ("/a/..%252fb", "segment"),
        ("/..?a=b", "segment"),
        ("/a#b", "fragment"),
        ("/100%", "percent sign"),
        ("/%zz", "percent sign"),
        ("/a?b=%4", "percent sign"),
        ("/a\ud800", "surrogate"),
    ],
)
def test_what_is_no_place_inside_the_site_is_refused_and_told_why(given_url, why):
    with pytest.raises(InvalidTaskError, match=why):
        task_url(given_url)


@pytest.mark.parametrize("wrong", [b"/a", None, 5, ["/a"], object()])
def test_a_url_that_is_no_str_is_refused_with_its_type(wrong):
    with pytest.raises(InvalidTaskError, match=f"must be a str that holds a path, not a {type(wrong).__name__}"):
        task_url(wrong)


def test_a_function_in_place_of_a_url_is_told_to_be_none():
    def view():
        """A view."""

    with pytest.raises(InvalidTaskError, match="not a function: give the path of the view"):
        task_url(view)


def test_no_error_repeats_the_url():
    for wrong in ("http://joe:pw-canary@host/", "/a?token=pw-canary#x", "/a?token=pw-canary\n", "/../a?pw-canary"):
        with pytest.raises(InvalidTaskError) as caught:
            task_url(wrong)
        assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("params", "query"),
    [
        ({}, ""),
        ({"a": "b"}, "?a=b"),
        ({"a": 1, "b": 2.5}, "?a=1&b=2.5"),
        ({"a": True, "b": False}, "?a=true&b=false"),
        ({"a": ["x", "y"]}, "?a=x&a=y"),
        ({"a": ("x", 2)}, "?a=x&a=2"),
        ({"a": []}, ""),
        ([("a", "1"), ("a", "2")], "?a=1&a=2"),
        ((pair for pair in [("a", "1")]), "?a=1"),
        ({"a": "ü &=#%"}, "?a=%C3%BC+%26%3D%23%25"),
        ({"a\nb": "c\r\nd"}, "?a%0Ab=c%0D%0Ad"),
        ({"a": b"\xff"}, "?a=%FF"),
        ({"a": ""}, "?a="),
    ],
)
def test_params_become_a_query(params, query):
    assert task_url("/x", params) == "/x" + query


@pytest.mark.parametrize(("given_url", "kept"), [("/x?a=b", "/x?a=b&c=d"), ("/x?", "/x?c=d")])
def test_params_are_appended_to_a_query_that_is_already_there(given_url, kept):
    assert task_url(given_url, {"c": "d"}) == kept


@pytest.mark.parametrize(
    "wrong", ["a=b", b"a=b", 5, ["ab"], [("a", "b", "c")], {"a": None}, {"a": {"b": 1}}, {"a": [["b"]]}, {"a": {1}}]
)
def test_params_of_a_wrong_shape_are_refused(wrong):
    with pytest.raises(InvalidTaskError, match=r"^(params must be a mapping|a parameter is)"):
        task_url("/x", wrong)


@pytest.mark.parametrize("wrong", ["\x00", "a\x00b", "\ud800"])
def test_a_parameter_that_nothing_can_take_is_refused(wrong):
    with pytest.raises(InvalidTaskError, match=r"NUL|surrogate"):
        task_url("/x", {"a": wrong})


@given(st.dictionaries(TEXT.filter(lambda text: "\0" not in text), TEXT.filter(lambda text: "\0" not in text)))
def test_params_come_back_as_they_were_given(params):
    query = task_url("/x", params).partition("?")[2]

    assert parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query)) == list(params.items())


@given(PLAIN_TEXT)
def test_a_quoted_path_comes_back_as_it_was(text):
    assume(not {".", ".."} & set(unquote(text).split("/")) and not {".", ".."} & set(text.split("/")))

    assert unquote_to_bytes(task_url("/x/" + quote(text))).decode() == "/x/" + text


@given(st.text())
def test_what_passes_is_a_local_path_in_ascii_and_passes_again_unchanged(text):
    try:
        url = task_url(text)
    except InvalidTaskError:
        return
    path = unquote_to_bytes(url.partition("?")[0])
    assert url.isascii()
    assert url.startswith("/")
    assert not url.startswith("//")
    assert not {b".", b".."} & set(path.replace(b"\\", b"/").split(b"/"))
    assert not any(byte < 0x20 or byte == 0x7F for byte in path)
    assert task_url(url) == url


@given(st.text("./\\%2eEfF5cC0", max_size=20))
def test_no_spelling_of_dots_slashes_and_escapes_leads_up(text):
    try:
        url = task_url("/" + text)
    except InvalidTaskError:
        return
    decoded = url.partition("?")[0].encode()
    for _ in range(2):
        decoded = unquote_to_bytes(decoded)
        assert not {b".", b".."} & set(decoded.replace(b"\\", b"/").split(b"/"))


@given(st.text("/.%?:&=a~ \\#", max_size=12))
def test_what_is_taken_at_a_glance_is_what_a_closer_look_would_take(url):
    def taken(params):
        try:
            return task_url(url, params)
        except InvalidTaskError:
            return None

    assert taken(None) == taken({})
