"""The demo site itself: what its page lets through, and what it does not."""

import importlib.util
import re
import sys
from importlib import resources
from wsgiref.validate import validator

import pytest
import webob

from taskqueue.demo.rehearsal import KINDS
from taskqueue.wsgi import TaskQueueFilter, TransactionMiddleware

HOSTILE = """<script>alert("1")</script>&'"""


@pytest.fixture(scope="module")
def demo_site():
    """The module, from where the package keeps it."""
    with resources.as_file(resources.files("taskqueue.demo") / "files") as files:
        spec = importlib.util.spec_from_file_location("demo_site", files / "demo_site.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module
    sys.modules.pop("demo_site", None)


@pytest.fixture
def site(demo_site, tmp_path):
    return demo_site.make_app({"__file__": f"/tmp/{HOSTILE}/demo.ini"}, str(tmp_path / "var" / "journal.db"))


@pytest.fixture
def ask(site, tmp_path):
    """Send a request through the filters; nobody consumes."""
    app = TaskQueueFilter(
        TransactionMiddleware(site),
        queues={"default": {"type": "sqlite", "path": str(tmp_path / "var" / "tasks.db")}},
        servers={"default": {"consume": "no"}},
    )

    def request(path, headers=None, **keywords):
        return webob.Request.blank(path, base_url="http://127.0.0.1:8080", headers=headers, **keywords).get_response(
            app
        )

    yield request
    app.installation.close()


def rows(ask):
    return ask("/tasks.json").json["tasks"]


def test_the_page_has_a_button_for_every_kind_and_works_without_its_script(ask):
    for kind in KINDS:
        assert ask("/add", POST={"kind": kind}).status_int == 303
    answer = ask("/")
    assert (answer.content_type, answer.charset) == ("text/html", "UTF-8")
    page = answer.text
    assert [kind for kind in KINDS if f'value="{kind}"' not in page] == []
    assert re.findall(r'<tr id="([^"]+)"', page) == [row["id"] for row in rows(ask)]
    assert '<form method="post" action="add">' in page


@pytest.mark.parametrize(
    ("path", "status", "content_type"),
    [("/", 200, "text/html"), ("/tasks.json", 200, "application/json"), ("/nowhere", 404, "text/plain")],
)
def test_the_site_keeps_to_the_rules_of_wsgi(demo_site, tmp_path, path, status, content_type):
    site = demo_site.make_app({}, str(tmp_path / "journal.db"))
    answer = webob.Request.blank(path, base_url="http://127.0.0.1").get_response(validator(site))
    assert (answer.status_int, answer.content_type) == (status, content_type)
    assert answer.content_length == len(answer.body)


def test_a_click_leads_to_the_row_of_its_task(ask):
    answer = ask("/add", POST={"kind": "succeeds"})
    (row,) = rows(ask)
    assert answer.location == f"http://127.0.0.1:8080/#{row['id']}"
    assert (row["state"], row["title"], row["runs"]) == ("ready", "Succeeds", 0)


def test_the_task_of_an_aborted_transaction_is_shown_as_such(ask):
    assert ask("/add", POST={"kind": "is-aborted"}).status_int == 303
    (row,) = rows(ask)
    assert (row["state"], row["runs"]) == ("aborted", 0)


def test_everything_on_the_page_is_escaped(ask, site):
    site.journal.added(HOSTILE, HOSTILE)
    page = ask("/").text
    assert "alert" in page
    assert "<script>alert" not in page
    assert 'alert("1")' not in page


def test_everything_in_a_row_is_escaped(demo_site):
    hostile = dict.fromkeys(("id", "title", "state", "attempts", "detail", "added"), HOSTILE)
    row = demo_site.render_row({**hostile, "percent": 50})
    assert "<script>" not in row
    assert row.count("&lt;script&gt;") == 7  # the state twice
    assert '"1"' not in row


def test_the_page_loads_nothing_and_runs_nothing_but_its_own(ask):
    first, second = ask("/"), ask("/")
    policy = first.headers["Content-Security-Policy"]
    nonces = set(re.findall(r"'nonce-([^']+)'", policy))
    assert len(nonces) == 1
    assert re.findall(r"<(?:script|style)[^>]*>", first.text) == [
        f'<style nonce="{nonces.copy().pop()}">',
        f'<script nonce="{nonces.pop()}">',
    ]
    assert policy != second.headers["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert policy.startswith("default-src 'none';")
    assert "form-action 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert not re.search(r"""(?:src|href|action)=["']?(?:https?:)?//|@import|url\(| style=| on[a-z]+=""", first.text)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:8081"},
        {"Origin": "https://127.0.0.1:8080"},
        {"Host": "evil.example:8080"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": ""},
        {"Host": "evil.example", "Origin": "http://evil.example"},
    ],
)
def test_a_page_elsewhere_cannot_click(ask, headers):
    assert ask("/add", headers, POST={"kind": "succeeds"}).status_int == 403
    assert rows(ask) == []


def test_a_page_elsewhere_cannot_look(ask):
    assert ask("/tasks.json", {"Host": "evil.example"}).status_int == 403


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost:8080"])
def test_its_own_page_can_click(ask, host):
    headers = {"Host": host, "Origin": f"http://{host}"}
    assert ask("/add", headers, POST={"kind": "succeeds"}).status_int == 303


def test_nothing_is_added_by_a_mere_link(ask):
    assert ask("/add?kind=succeeds").status_int == 404
    assert rows(ask) == []


@pytest.mark.parametrize("kind", ["", "no such kind", "../add", HOSTILE])
def test_an_unknown_kind_is_refused(ask, kind):
    answer = ask("/add", POST={"kind": kind})
    assert answer.status_int == 400
    assert "<script>" not in answer.text
    assert rows(ask) == []


@pytest.mark.parametrize("kind", KINDS)
def test_the_address_of_a_task_is_for_tasks_only(ask, site, kind):
    for headers in ({}, {"X-Task-Id": "1", "X-Task-Attempt": "1"}):
        assert ask(f"/tasks/{kind}", headers, method="POST").status_int == 403
    with site.journal.connection() as connection:
        assert connection.execute("SELECT count(*) FROM run").fetchone() == (0,)


@pytest.mark.parametrize("path", ["/nowhere", "/%ff", "/demo_site.py"])
def test_an_unknown_address_is_not_found(ask, path):
    answer = ask(path)
    assert answer.status_int == 404
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
