"""Who a request is, by the user that the publisher has noted."""

import pytest
from AccessControl.users import UnrestrictedUser, User, nobody
from OFS.userfolder import UserFolder
from zExceptions import Forbidden, Unauthorized

from taskqueue.consumer.acknowledge import Acknowledgement
from taskqueue.context import ACKNOWLEDGEMENT_KEY, TASK_KEY
from taskqueue.record import Principal
from taskqueue.zope.identity import ANONYMOUS, principal_of, task_traversed, task_unauthorized

from ..making_records import make_task
from .user_folders import add_user_folder, make_root

SUPERUSER = UnrestrictedUser("emergency", "secret", ("manage",), [])


class Request:
    _auth = None

    def __init__(self, user=None, task=None, **other):
        self.other = {} if user is None else {"AUTHENTICATED_USER": user}
        self.other.update(other)
        self.acknowledgement = Acknowledgement()
        self.environ = {ACKNOWLEDGEMENT_KEY: self.acknowledgement}
        if task is not None:
            self.environ[TASK_KEY] = task


class Event:
    def __init__(self, request, error=None):
        self.request = request
        self.exc_info = (type(error), error, None)


@pytest.fixture
def folder():
    return add_user_folder(make_root().site)


def user_of(folder, name="joe"):
    return User(name, "secret", ["Manager"], []).__of__(folder)


def test_a_user_is_known_by_id_and_user_folder(folder):
    assert principal_of(Request(user_of(folder))) == Principal("joe", "/site/acl_users")


def test_nobody_is_anonymous_and_a_user_of_that_name_is_not(folder):
    assert principal_of(Request(nobody.__of__(folder))) == ANONYMOUS
    assert principal_of(Request(user_of(folder, "Anonymous User"))) != ANONYMOUS


def test_the_emergency_user_who_has_no_id_is_not_anonymous(folder):
    assert principal_of(Request(SUPERUSER.__of__(folder))) == Principal("emergency", "emergency user")


def test_before_the_publisher_has_let_anybody_in_nobody_is_known():
    assert principal_of(Request()) is None
    assert principal_of(object()) is None


def test_a_request_that_is_no_task_is_not_compared(folder):
    request = Request(user_of(folder))
    request.environ[TASK_KEY] = "a word"
    task_traversed(Event(request))
    assert request.acknowledgement.refusal == ""


@pytest.mark.parametrize("found", ["joe", "ann", None])
def test_a_task_without_a_user_on_record_is_not_compared(folder, found):
    request = Request(user_of(folder, found) if found else None, make_task(principal=None))
    task_traversed(Event(request))
    assert request.acknowledgement.refusal == ""


@pytest.mark.parametrize("recorded", [Principal("joe", "/acl_users"), Principal("JOE", "/site/acl_users"), ANONYMOUS])
def test_neither_the_same_id_of_another_folder_nor_a_similar_id_is_the_same_user(folder, recorded):
    request = Request(user_of(folder), make_task(principal=recorded))
    with pytest.raises(Forbidden):
        task_traversed(Event(request))
    assert "it would run as 'joe' of /site/acl_users" in request.acknowledgement.refusal


def test_where_nobody_has_been_let_in_the_task_of_a_user_is_refused_and_one_of_anonymous_is_not(folder):
    request = Request(None, make_task(principal=ANONYMOUS))
    task_traversed(Event(request))
    assert request.acknowledgement.refusal == ""
    with pytest.raises(Forbidden):
        task_traversed(Event(Request(None, make_task(principal=Principal("joe", "/site/acl_users")))))


@pytest.mark.parametrize(
    ("error", "other"),
    [(Unauthorized(), {}), (KeyError(), {"PUBLISHED": None}), (Forbidden(), {"PUBLISHED": None})],
)
def test_other_errors_and_those_before_there_is_something_to_publish_are_as_ever(error, other):
    request = Request(None, make_task(principal=Principal("joe", "/site/acl_users")), **other)
    task_unauthorized(Event(request, error))
    assert request.acknowledgement.refusal == ""


def test_a_user_folder_in_trouble_says_nothing_of_the_user(folder):
    class Broken(UserFolder):
        def validate(self, request, auth="", roles=()):
            raise OSError("the directory of users does not answer")

    broken = Broken()
    site = folder.aq_parent
    site._delObject("acl_users")
    site._setObject("acl_users", broken)
    task = make_task(principal=Principal("joe", "/site/acl_users"))
    request = Request(None, task, PUBLISHED=site, PARENTS=[site])
    task_unauthorized(Event(request, Unauthorized()))
    assert request.acknowledgement.refusal == ""
