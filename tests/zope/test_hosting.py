import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskqueue.zope.hosting import BASE, ROOT, rehosted

HOST = "/VirtualHostBase/https/www.example.org:443"


def environ(path, **more):
    return {"PATH_INFO": path, "wsgi.url_scheme": "https", "HTTP_HOST": "www.example.org", **more}


@pytest.mark.parametrize(
    ("path", "target", "expected"),
    [
        ("/site/view", "/site/task", "/site/task"),
        (f"{HOST}/VirtualHostRoot/site/view", "/site/task?a=1&b", f"{HOST}/VirtualHostRoot/site/task?a=1&b"),
        (f"{HOST}/site/VirtualHostRoot/view", "/site/task", f"{HOST}/site/VirtualHostRoot/task"),
        (f"{HOST}/site/VirtualHostRoot/", "/site", f"{HOST}/site/VirtualHostRoot"),
        (
            f"{HOST}/site/VirtualHostRoot/_vh_a/_vh_b/view",
            "/site/task",
            f"{HOST}/site/VirtualHostRoot/_vh_a/_vh_b/task",
        ),
        (f"{HOST}/site/sub/VirtualHostRoot/view", "/site/sub/x/y", f"{HOST}/site/sub/VirtualHostRoot/x/y"),
        # neither scheme nor host in the path
        ("/site/VirtualHostRoot/_vh_a/view", "/site/task", "/site/VirtualHostRoot/_vh_a/task"),
        # beyond the virtual root: all of Zope, seen at the same host
        (f"{HOST}/site/VirtualHostRoot/_vh_a/view", "/elsewhere/task", f"{HOST}/VirtualHostRoot/elsewhere/task"),
        (f"{HOST}/site/VirtualHostRoot/view", "/sitemap", f"{HOST}/VirtualHostRoot/sitemap"),
        # hosted by hand
        (f"{HOST}/site/VirtualHostRoot/view", "/VirtualHostBase/http/other/VirtualHostRoot/x", None),
        # names that are not ASCII: PEP 3333 has their bytes as latin-1
        (f"{HOST}/s\xc3\xaete/VirtualHostRoot/view", "/s%C3%AEte/task", f"{HOST}/s%C3%AEte/VirtualHostRoot/task"),
        # what a client may have put into the path: it is read as the publisher does
        ("/VirtualHostBase/../x/VirtualHostRoot/view", "/site/task", "/VirtualHostRoot/site/task"),
        (f"/a/..{HOST}/site/../VirtualHostRoot/view", "/site/task", f"{HOST}/VirtualHostRoot/site/task"),
        (f"{HOST}/./site//VirtualHostRoot/_vh_a/../_vh_b/v", "/site/t", f"{HOST}/site/VirtualHostRoot/_vh_b/t"),
        (f"{HOST}/VirtualHostRoot/_vh_%2e%2e/v", "/site/t", f"{HOST}/VirtualHostRoot/_vh_%252e%252e/site/t"),
        (f"{HOST}\x00/VirtualHostRoot/view", "/site/task", "/site/task"),
        (f"{HOST}\\/VirtualHostRoot/view", "/site/task", "/site/task"),
        # no virtual host at all
        ("/VirtualHostBase/https", "/site/task", "/site/task"),
        ("", "/site/task", "/site/task"),
    ],
)
def test_a_physical_path_is_reached_through_the_virtual_host_of_the_request(path, target, expected):
    assert rehosted(environ(path), target) == (target if expected is None else expected)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/site/task?a", "/task?a"),
        ("/site", "/"),
        ("/elsewhere/task", f"{HOST}/VirtualHostRoot/elsewhere/task"),
    ],
)
def test_where_zopes_own_table_maps_the_host_the_table_will_do_so_again(target, expected):
    assert rehosted(environ("/view"), target, ["site"]) == expected


def test_a_host_that_is_none_does_not_get_into_the_path():
    hosted = rehosted(environ("/view", HTTP_HOST="x/../../y.example.org", SERVER_NAME="10.0.0.1"), "/b/task", ["site"])
    assert hosted == "/VirtualHostBase/https/10.0.0.1:443/VirtualHostRoot/b/task"


@given(
    st.lists(st.sampled_from([BASE, ROOT, "https", "h:443", "_vh_a", "_vh_..", "..", ".", "", "site", "x", "\xc3\xae"]))
)
def test_whatever_path_a_client_sends_the_task_goes_to_the_same_object(steps):
    hosted = rehosted(environ("/" + "/".join(steps)), "/site/sub/task?a=1")
    path, _, query = hosted.partition("?")
    assert query == "a=1"
    assert not {"", ".", ".."} & set(path.split("/")[1:])
    assert physical(path) == ["site", "sub", "task"]


def physical(path):
    """The object that a path leads to, by the rules of the VirtualHostMonster."""
    steps = path.split("/")[1:]
    if steps[0] == BASE:
        steps = steps[3:]
    if ROOT in steps:
        at = steps.index(ROOT)
        behind = steps[at + 1 :]
        while behind and behind[0].startswith("_vh_"):
            behind.pop(0)
        steps = steps[:at] + behind
    return steps
