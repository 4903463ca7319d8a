"""What a view adds is what its task's view gets: through filter, capture, store, replay, filter and view."""

import io
from urllib.parse import quote, unquote_to_bytes
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest
from hypothesis import given
from hypothesis import strategies as st

import taskqueue
from taskqueue import queues
from taskqueue.consumer.replay import replay
from taskqueue.record import decode
from taskqueue.wsgi import TaskQueueFilter, TransactionMiddleware

from .test_transactions import call

TOKEN = "!#$%&'*+-.^`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
VISIBLE = "".join(map(chr, [*range(0x21, 0x7F), *range(0xA0, 0x100)]))

methods = st.sampled_from(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"])
segments = st.binary(min_size=1, max_size=8).filter(
    lambda part: part.strip(b".") and not any(byte < 0x20 or byte in b"\\/%\x7f" for byte in part)
)
paths = st.lists(segments, max_size=4).map(lambda parts: "/" + "/".join(quote(part, safe="") for part in parts))
params = st.lists(st.tuples(st.text(min_size=1, max_size=5), st.text(max_size=8)), max_size=3).filter(
    lambda pairs: not any("\x00" in text or any(0xD800 <= ord(c) < 0xE000 for c in text) for p in pairs for text in p)
)
header_names = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=10).map(lambda name: f"x-q{name}q")
headers = st.dictionaries(header_names, st.text(VISIBLE, min_size=1, max_size=12), max_size=4)
bodies = st.binary(max_size=300)


class Pipe(io.RawIOBase):
    """A body that can be read once, in pieces that may be smaller than asked for."""

    def __init__(self, content, most):
        self._file = io.BytesIO(content)
        self._most = most

    def read(self, size=-1):
        return self._file.read(self._most if size is None or size < 0 else min(size, self._most))

    def readline(self, size=-1):
        return self._file.readline(size if size is not None else -1)

    def seekable(self):
        return False


class Site:
    """A site whose view /add adds what it is told to, and whose every other view notes what it gets."""

    def __init__(self):
        self.wanted = {}
        self.got = []
        self.filter = TaskQueueFilter(validator(TransactionMiddleware(validator(self.view))), servers={"default": {}})

    def view(self, environ, start_response):
        if taskqueue.current_task() is None:
            self.wanted["read"](environ["wsgi.input"])
            taskqueue.add(self.wanted["url"], self.wanted["method"], self.wanted["params"])
            rest = self.wanted["rest"](environ["wsgi.input"])
            assert rest is None or rest == self.wanted["left"], "the view lost some of its body"
        else:
            length = int(environ.get("CONTENT_LENGTH") or 0)
            self.got.append((environ.copy(), environ["wsgi.input"].read(length) if length else b""))
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [b"fine"]

    def run(self):
        """Replay what was added; what the view got of it."""
        queue = self.filter.installation.queues["default"]
        (record,) = queue.backend.list(("ready",))
        queue.backend.delete([record.id])
        answer = replay(validator(self.filter.replay), decode(record, queue.keyring))
        assert answer.status == 200, answer
        return self.got.pop()


@pytest.fixture(scope="module")
def site():
    made = Site()
    yield made
    made.filter.installation.close()
    queues.install(None)


@given(
    method=methods,
    path=paths,
    pairs=params,
    sent=headers,
    body=bodies,
    how=st.sampled_from(["seekable", "once", "chunked"]),
    read=st.integers(0, 300),
    most=st.integers(1, 400),
    host=st.sampled_from(["example.org", "example.org:8443", "[::1]:80"]),
    scheme=st.sampled_from(["http", "https"]),
    mount=st.sampled_from(["", "/mount", "/m\xc3\xbc"]),
)
def test_a_view_gets_what_was_added(site, method, path, pairs, sent, body, how, read, most, host, scheme, mount):
    stream = io.BytesIO(body) if how == "seekable" else Pipe(body, most)
    left = body[read:]

    def read_some(source):
        count = 0
        while count < min(read, len(body)):
            count += len(source.read(min(read, len(body)) - count))

    def read_rest(source):
        parts = []
        while sum(map(len, parts)) < len(left):
            parts.append(source.read(len(left)))
            assert parts[-1], "the view's body ended too early"
        return b"".join(parts)

    site.wanted = {"url": path, "method": method, "params": pairs, "read": read_some, "rest": read_rest, "left": left}
    environ = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/add",
        "SCRIPT_NAME": mount,
        "QUERY_STRING": "",
        "HTTP_HOST": host,
        "wsgi.url_scheme": scheme,
        "wsgi.input": stream,
        "REMOTE_ADDR": "192.0.2.7",
        "CONTENT_TYPE": "application/octet-stream",
        "HTTP_COOKIE": "a=b",
        "HTTP_X_FORWARDED_FOR": "198.51.100.1",
        "HTTP_IF_NONE_MATCH": '"tag"',
        "HTTP_RANGE": "bytes=0-1",
        "HTTP_CONNECTION": "close, x-hop",
        "HTTP_X_HOP": "hop",
        "HTTP_X_TASK_ID": "forged",
        **{"HTTP_" + name.upper().replace("-", "_"): value for name, value in sent.items()},
    }
    environ |= {"wsgi.input_terminated": True} if how == "chunked" else {"CONTENT_LENGTH": str(len(body))}
    assert call(site.filter, environ)[0] == "200 OK"
    got, got_body = site.run()

    assert got["REQUEST_METHOD"] == method
    assert got["PATH_INFO"].encode("latin-1") == unquote_to_bytes(path)
    assert got["SCRIPT_NAME"] == mount
    assert got["wsgi.url_scheme"] == scheme
    assert got["HTTP_HOST"] == host
    assert got["REMOTE_ADDR"] == "192.0.2.7"
    query = [pair.partition("=")[::2] for pair in got["QUERY_STRING"].split("&") if pair]
    decoded = [tuple(unquote_to_bytes(text.replace("+", " ")).decode() for text in pair) for pair in query]
    assert decoded == pairs
    for name, value in sent.items():
        assert got["HTTP_" + name.upper().replace("-", "_")] == value
    assert got["HTTP_COOKIE"] == "a=b"
    assert got["HTTP_X_FORWARDED_FOR"] == "198.51.100.1"
    absent = ("HTTP_IF_NONE_MATCH", "HTTP_RANGE", "HTTP_CONNECTION", "HTTP_X_HOP", "HTTP_TRANSFER_ENCODING")
    assert not [name for name in absent if name in got]
    assert got["HTTP_X_TASK_ID"] == got["taskqueue.task"].id
    assert got_body == (body if method in ("POST", "PUT", "PATCH") else b"")
    if got_body:
        assert got["CONTENT_TYPE"] == "application/octet-stream"
    assert not [value for value in got.values() if isinstance(value, str) and any(ord(c) < 32 for c in value)]


def test_an_environ_of_a_replay_can_be_made_again_and_is_not_shared(site):
    site.wanted = {"url": "/x", "method": "GET", "params": None, "read": bool, "rest": lambda source: None, "left": b""}
    environ = {"REQUEST_METHOD": "POST", "QUERY_STRING": ""}
    setup_testing_defaults(environ)
    call(site.filter, environ)
    queue = site.filter.installation.queues["default"]
    (record,) = queue.backend.list(("ready",))
    task = decode(record, queue.keyring)
    first, second = (replay(site.filter.replay, task) and site.got.pop()[0] for _ in range(2))
    assert first is not second
    assert first["wsgi.input"] is not second["wsgi.input"]
    queue.backend.delete([record.id])
