import pytest
import transaction
from AccessControl.SecurityManagement import getSecurityManager, newSecurityManager, noSecurityManager
from AccessControl.users import system
from zExceptions import Redirect, Unauthorized
from ZODB.POSException import ConflictError
from zope.component import getGlobalSiteManager
from zope.component.hooks import getSite, setSite
from zope.globalrequest import getRequest, setRequest
from zope.interface import Interface, alsoProvides, directlyProvidedBy, implementer
from ZPublisher.interfaces import IPubStart

from taskqueue import context
from taskqueue.configure import Installation, read_keywords
from taskqueue.consumer.acknowledge import Acknowledgement
from taskqueue.context import ACKNOWLEDGEMENT_KEY, TASK_KEY, Origin
from taskqueue.interfaces import ITaskQueueLayer
from taskqueue.zope import publishing

from ..making_records import make_task


class IExempt(Interface):
    """As plone.protect has one."""


class ISkin(Interface):
    """What everybody's views are registered for."""


class Request:
    def __init__(self, **environ):
        self.environ = environ


@implementer(IPubStart)
class Event:
    retry = False
    exc_info = (None, None, None)

    def __init__(self, request):
        self.request = request


class Site:
    def getSiteManager(self):  # noqa: N802  # zope.component's name
        return getGlobalSiteManager()


@pytest.fixture(autouse=True)
def clean_thread():
    yield
    setSite(None)
    setRequest(None)
    noSecurityManager()
    transaction.abort()


@pytest.fixture
def task_request():
    request = Request(**{TASK_KEY: make_task(queue="default"), ACKNOWLEDGEMENT_KEY: Acknowledgement()})
    alsoProvides(request, ISkin)
    return request


def test_a_tasks_request_provides_the_layer_before_its_skin(task_request):
    publishing.task_started(Event(task_request))
    assert next(iter(directlyProvidedBy(task_request))) is ITaskQueueLayer
    assert ISkin.providedBy(task_request)


@pytest.mark.parametrize("environ", [{}, {TASK_KEY: "a word"}, {"HTTP_X_TASK_ID": "1"}])
def test_nobody_elses_request_does(environ):
    request = Request(**environ)
    publishing.task_started(Event(request))
    assert not ITaskQueueLayer.providedBy(request)


@pytest.mark.parametrize("exempt", [True, False])
def test_the_option_csrf_exempt_says_whether_plone_protect_is_told_to_look_away(task_request, exempt, monkeypatch):
    monkeypatch.setattr(publishing, "IDisableCSRFProtection", IExempt)
    site = Installation(read_keywords({"default": {"csrf_exempt": exempt}}, {"default": {}}))
    with context.active(Origin({}, {}, None, queues=site.queues)):
        publishing.task_started(Event(task_request))
    assert IExempt.providedBy(task_request) is exempt


def test_a_request_that_is_no_task_is_never_exempt(monkeypatch):
    monkeypatch.setattr(publishing, "IDisableCSRFProtection", IExempt)
    request = Request()
    publishing.task_started(Event(request))
    assert not IExempt.providedBy(request)


def test_each_attempt_of_the_publisher_is_watched_and_the_last_one_counts(task_request):
    acknowledgement = task_request.environ[ACKNOWLEDGEMENT_KEY]
    transaction.begin()
    publishing.task_started(Event(task_request))
    transaction.abort()
    assert acknowledgement.committed is False
    transaction.begin()
    publishing.task_started(Event(task_request))
    transaction.commit()
    assert acknowledgement.committed is True


def application_that(task_request, error, status="500 Internal Server Error"):
    """An application in which the publisher gives up with that error, and a page is made of it."""

    def application(environ, start_response):
        transaction.begin()
        publishing.task_started(Event(task_request))
        transaction.abort()
        event = Event(task_request)
        event.exc_info = (type(error), error, None)
        publishing.task_failed(event)
        start_response(status, [("Location", "/login")])
        return [b"an error page"]

    return application


def test_a_conflict_is_raised_although_the_site_made_a_page_of_it(task_request):
    replay = publishing.cleanly(application_that(task_request, ConflictError()))
    with pytest.raises(ConflictError):
        list(replay(task_request.environ, lambda *_: None))


def test_the_page_of_another_error_is_the_answer(task_request):
    replay = publishing.cleanly(application_that(task_request, ValueError()))
    assert list(replay(task_request.environ, lambda *_: None)) == [b"an error page"]


@pytest.mark.parametrize(
    ("error", "status", "judged"),
    [
        (Unauthorized(), "302 Found", "401 Unauthorized"),  # as a plugin challenges by a cookie
        (Unauthorized(), "401 Unauthorized", "401 Unauthorized"),
        (Unauthorized(), "500 Internal Server Error", "500 Internal Server Error"),
        (Redirect("/elsewhere"), "302 Found", "302 Found"),
    ],
    ids=lambda value: getattr(value, "__name__", None) or str(value),
)
def test_a_missing_right_is_one_though_a_plugin_sends_whoever_asks_to_a_login(task_request, error, status, judged):
    answers = []
    replay = publishing.cleanly(application_that(task_request, error, status))
    list(replay(task_request.environ, lambda status, headers: answers.append((status, headers))))
    assert answers == [(judged, [("Location", "/login")])]


def test_an_attempt_of_the_publisher_forgets_that_the_one_before_lacked_a_right(task_request):
    list(publishing.cleanly(application_that(task_request, Unauthorized()))(task_request.environ, lambda *_: None))
    assert task_request.environ[ACKNOWLEDGEMENT_KEY].is_unauthorized
    transaction.begin()
    publishing.task_started(Event(task_request))
    assert not task_request.environ[ACKNOWLEDGEMENT_KEY].is_unauthorized


def test_a_replay_finds_a_clean_thread_and_leaves_one():
    found = []

    def look():
        user = getSecurityManager().getUser()
        return getSite(), getRequest(), user.getId() if user is not None else None

    def litter():
        setSite(Site())
        setRequest(object())
        newSecurityManager(None, system)
        transaction.get().setUser("somebody")

    def application(_environ, _start_response):
        found.append((*look(), transaction.get().user))
        litter()
        return [b"", b"done"]

    litter()
    assert list(publishing.cleanly(application)({}, None)) == [b"", b"done"]
    assert found == [(None, None, None, "")]
    assert look() == (None, None, None)
    assert transaction.get().user == ""


def test_a_replay_that_raises_leaves_a_clean_thread_too():
    def application(_environ, _start_response):
        setSite(Site())
        raise KeyError

    with pytest.raises(KeyError):
        list(publishing.cleanly(application)({}, None))
    assert getSite() is None


def test_a_response_is_closed_when_it_has_been_read():
    closed = []

    class Response:
        def __iter__(self):
            return iter([b"done"])

        def close(self):
            closed.append(True)

    assert list(publishing.cleanly(lambda *_: Response())({}, None)) == [b"done"]
    assert closed == [True]
