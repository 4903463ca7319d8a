"""One Plone site for all tests, made by a script, and served with three queues of different options."""

import importlib.util
import os
import urllib.parse

import pytest

from taskqueue.backends.sqlite import SQLiteQueue
from taskqueue.record import decode

from ..serving import APPS, Browser, port_of
from ..zope.conftest import Running
from ..zope.instances import Instance

SECTIONS = """
%import taskqueue
<taskqueue>
  type sqlite
  path tasks.db
</taskqueue>
<taskqueue-server>
  concurrent_limit 2
  min_backoff 20 ms
  conflict_backoff 20 ms
  max_backoff 100 ms
</taskqueue-server>
<taskqueue strict>
  type sqlite
  path tasks.db
  csrf_exempt false
</taskqueue>
<taskqueue-server strict>
  queue strict
  retry_max_count 1
  min_backoff 20 ms
</taskqueue-server>
<taskqueue trusted>
  type sqlite
  path tasks.db
  auth principal
  secret a-secret-of-thirty-two-characters-or-more
</taskqueue>
<taskqueue-server trusted>
  queue trusted
  min_backoff 20 ms
</taskqueue-server>
max-conflict-retries 1
"""
ZCML = '<include package="plone_site"/>\n'
# make test-plone says that there has to be one.
HAS_PLONE = "TASKQUEUE_PLONE" in os.environ or importlib.util.find_spec("Products.CMFPlone") is not None


def pytest_collection_modifyitems(items):
    """Say why these tests cannot run."""
    if HAS_PLONE:
        return
    for item in items:
        if "/tests/plone/" in str(item.path):
            item.add_marker(pytest.mark.skip(reason="there is no Plone here: make test-plone has one"))


class Site(Running):
    """A running Plone, and browsers of it."""

    def __init__(self, instance, process):
        super().__init__(instance, process)
        self.joe = self.as_user("joe", "joes-long-secret")

    def with_headers(self, **headers):
        return Browser(port_of(self.process), headers)

    def stored_headers(self, task_id):
        """Of a task of the queue that trusts its records, the names of its headers as they are stored."""
        queue = SQLiteQueue(name="trusted", path=self.instance.folder / "var" / "tasks.db")
        try:
            return [name.lower() for name, _value in decode(queue.get(task_id), None).headers]
        finally:
            queue.close()

    def token(self):
        """With it joe may write."""
        return self.joe.get("/Plone/@@token")[1]

    def logged_in(self, user="joe", password="joes-long-secret"):
        """A browser that has sent Plone's login form; it has a cookie then, and no other credential."""
        browser = self.with_headers()
        form = {"__ac_name": user, "__ac_password": password, "buttons.login": "Log in"}
        status, page = browser.request(
            "POST",
            "/Plone/login",
            urllib.parse.urlencode(form),
            {"Content-Type": "application/x-www-form-urlencoded"},
        )
        assert status == 302, page
        return browser


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """An instance with a site in it, of which others are copied."""
    instance = Instance(tmp_path_factory.mktemp("plone") / "made", sections=SECTIONS, zcml=ZCML)
    instance.script(APPS / "plone_site" / "make_site.py")
    return instance


@pytest.fixture(scope="session")
def plone(made, tmp_path_factory):
    """It starts once."""
    instance = Instance(tmp_path_factory.mktemp("plone") / "instance", sections=SECTIONS, zcml=ZCML)
    instance.copy_of(made)
    with instance.serve() as process:
        yield Site(instance, process)
