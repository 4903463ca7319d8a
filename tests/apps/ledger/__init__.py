"""A Pyramid application for the tests: users, sessions, CSRF protection, transactions that retry, and tasks.

What its task views did stands in the file that the setting ``ledger.effects`` names, one JSON line each, appended by
whichever process ran them.
"""

import base64
import fcntl
import json
import os

import transaction
from pyramid.authentication import AuthTktCookieHelper, extract_http_basic_credentials
from pyramid.authorization import ACLHelper, Allow, Authenticated
from pyramid.config import Configurator
from pyramid.csrf import get_csrf_token
from pyramid.httpexceptions import HTTPConflict
from pyramid.response import Response
from pyramid.security import remember
from pyramid.session import SignedCookieSessionFactory

import taskqueue


class Ledger:
    __acl__ = ((Allow, Authenticated, "write"),)

    def __init__(self, request):
        pass


class CookiePolicy:
    def __init__(self):
        self._helper = AuthTktCookieHelper("a secret of the tests")

    def identity(self, request):
        return self._helper.identify(request)

    def authenticated_userid(self, request):
        identity = self.identity(request)
        return identity and identity["userid"]

    def permits(self, request, context, permission):
        userid = self.authenticated_userid(request)
        principals = [userid, Authenticated] if userid else []
        return ACLHelper().permits(context, principals, permission)

    def remember(self, request, userid, **keywords):
        return self._helper.remember(request, userid, **keywords)

    def forget(self, request, **keywords):
        return self._helper.forget(request, **keywords)


class BasicPolicy(CookiePolicy):
    def identity(self, request):
        credentials = extract_http_basic_credentials(request)
        if credentials is None or credentials.password != "password of " + credentials.username:
            return None
        return {"userid": credentials.username}


def main(global_config, **settings):
    config = Configurator(settings=settings, root_factory=Ledger)
    config.include("pyramid_retry")
    config.include("pyramid_tm")
    config.include("taskqueue.pyramid")
    config.set_session_factory(SignedCookieSessionFactory("another secret of the tests"))
    config.set_security_policy(
        {"cookie": CookiePolicy, "basic": BasicPolicy}[settings.get("ledger.policy", "cookie")]()
    )
    config.set_default_csrf_options(require_csrf=True)
    config.add_route("login", "/login")
    config.add_view(login, route_name="login", require_csrf=False)
    for name, view in VIEWS.items():
        config.add_route(name, f"/{name}")
        config.add_view(view, route_name=name, permission="write", renderer="json")
    config.add_route("secret", "/task/secret")
    config.add_view(record, route_name="secret", task_only=True, renderer="json")
    config.add_route("guarded", "/task/guarded")
    config.add_view(taskqueue.task_only(record), route_name="guarded", renderer="json")
    return config.make_wsgi_app()


def login(request):
    response = Response("hello")
    response.headerlist.extend(remember(request, request.params["user"]))
    return response


def home(request):
    return {"user": request.authenticated_userid, "token": get_csrf_token(request)}


def add(request):
    keywords = json.loads(request.params.get("keywords", "{}"))
    return {"id": taskqueue.add(request.params["url"], **keywords)}


def add_then_raise(request):
    taskqueue.add("/record", params={"from": "raised"})
    raise ValueError("after the add")


def add_then_answer_500(request):
    taskqueue.add("/record", params={"from": "answered 500"})
    request.response.status = 500
    return {}


def add_in_conflict(request):
    """Every attempt adds; the first two run into a conflict."""
    attempt = request.environ.get("retry.attempt", 0)
    task_id = taskqueue.add("/record", params={"from": f"attempt {attempt}"})
    if attempt < 2:
        raise transaction.interfaces.TransientError("a conflict")
    return {"id": task_id}


def record(request):
    task = taskqueue.current_task()
    note(
        request,
        did="record",
        user=request.authenticated_userid,
        method=request.method,
        url=request.url,
        body=base64.b64encode(request.body).decode(),
        content_type=request.content_type,
        headers=dict(request.headers),
        client=request.client_addr,
        task=task and task.id,
        pid=os.getpid(),
    )
    return {}


def block(request):
    """Say that it began; end when the gate, a lock that the test holds, is open."""
    note(request, did="began", pid=os.getpid(), attempt=request.headers["X-Task-Attempt"])
    with open(request.registry.settings["ledger.gate"]) as gate:
        fcntl.flock(gate, fcntl.LOCK_SH)
    note(request, did="ended", pid=os.getpid())
    return {}


def chain(request):
    """A task that adds a task."""
    left = int(request.params["left"])
    note(request, did="chain", left=left, parent=taskqueue.current_task().parent_id)
    if left:
        taskqueue.add("/chain", params={"left": left - 1})
    return {}


def doomed(request):
    """A task that answers 200, and whose transaction aborts all the same."""
    note(request, did="doomed")
    request.tm.doom()
    return {}


def state(request):
    task = taskqueue.get(request.params["id"])
    return {"state": task and task.state, "attempts": task and task.attempts}


def conflict(request):
    return HTTPConflict()


def note(request, **facts):
    line = json.dumps(facts) + "\n"
    descriptor = os.open(request.registry.settings["ledger.effects"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


VIEWS = {
    "home": home,
    "add": add,
    "add_then_raise": add_then_raise,
    "add_then_answer_500": add_then_answer_500,
    "add_in_conflict": add_in_conflict,
    "record": record,
    "block": block,
    "chain": chain,
    "doomed": doomed,
    "state": state,
    "conflict": conflict,
}
