"""Zope with users at the root and below it, and two queues with a seal: one copies credentials, one stores none."""

import base64
import urllib.parse

from taskqueue.backends.sqlite import SQLiteQueue
from taskqueue.record import Keyring, decode

from ..serving import APPS, Browser, port_of
from .instances import until

USERS_ZCML = '<include package="zope_users"/>\n'
KEY, OTHER_KEY = "first-key-" * 4, "other-key-" * 4
QUEUE = """
<taskqueue {name}>
  type sqlite
  path tasks.db
  secret {secret}
  auth {auth}
</taskqueue>
<taskqueue-server {name}>
  queue {name}
  consume {consume}
  min_backoff 20 ms
  max_backoff 100 ms
</taskqueue-server>
"""


def queue_section(name, auth, secret=KEY, consume="auto"):
    return QUEUE.format(name=name, auth=auth, secret=secret, consume=consume)


SECTIONS = "\n%import taskqueue\n" + queue_section("default", "copy") + queue_section("trusted", "principal")


def make_users(instance):
    """Fill an instance that has the content of the others."""
    instance.script(APPS / "zope_users" / "make_users.py")
    return instance


def cookie_of(name):
    """As the CookieAuthHelper writes it."""
    credentials = f"{name.encode().hex()}:{f'{name}s-secret'.encode().hex()}".encode()
    return "__ac=" + urllib.parse.quote(base64.b64encode(credentials))


def basic_of(name):
    """As a browser writes it."""
    return "Basic " + base64.b64encode(f"{name}:{name}s-secret".encode()).decode()


class Store:
    """The queues of an instance, looked at from outside."""

    def __init__(self, instance, keys=(KEY,)):
        self.path = instance.folder / "var" / "tasks.db"
        self._keyring = Keyring([key.encode() for key in keys])

    def record(self, task_id, queue):
        backend = SQLiteQueue(name=queue, prefix="taskqueue", length_limit=None, path=str(self.path))
        try:
            return backend.get(task_id)
        finally:
            backend.close()

    def task(self, task_id, queue="default"):
        """The task, as of now, its seal not looked at."""
        return decode(self.record(task_id, queue), None)


class Identified:
    """It is served, and told to add tasks. Tasks come after the change that their request makes to users."""

    def __init__(self, instance, process):
        self.instance = instance
        self.process = process
        self.effects = instance.effects
        self.store = Store(instance)
        self.nobody = Browser(port_of(process))

    def by_cookie(self, name):
        return Browser(port_of(self.process), {"Cookie": cookie_of(name)})

    def by_basic(self, name):
        return Browser(port_of(self.process), {"Authorization": basic_of(name)})

    def add(self, browser, task, where="/elsewhere", view="@@add_and", **params):
        status, page = browser.get(f"{where}/{view}", task=task, **params)
        assert status == 200, page
        return page

    def ended(self, task_id, queue="default"):
        """The task, when it is done or dead."""
        found = []

        def is_over():
            found[:] = [self.store.task(task_id, queue)]
            return found[0].state in ("done", "dead")

        until(is_over, self.process)
        return found[0]

    def run(self, browser, task, queue="default", **params):
        """Add it, and wait for its end; its state, and why."""
        ended = self.ended(self.add(browser, task, queue=queue, **params), queue)
        return ended.state, ended.last_outcome.reason

    def effect(self, mark):
        """What the task has seen of itself."""
        [found] = [each for each in self.effects.read() if each.get("form") == {"mark": mark}]
        return found

    def has_run(self, mark):
        return any(each.get("form") == {"mark": mark} for each in self.effects.read())
