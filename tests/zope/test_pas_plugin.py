import pytest
from AccessControl.SecurityManagement import noSecurityManager
from Products.PluggableAuthService.interfaces.plugins import IAuthenticationPlugin, IExtractionPlugin
from zope.interface.verify import verifyObject

from taskqueue import context
from taskqueue.backends.local import LocalQueue
from taskqueue.context import TASK_KEY, Origin
from taskqueue.queues import Queue, Queues
from taskqueue.record import Keyring, Principal
from taskqueue.zope.pas import installing

from ..making_records import make_task
from .user_folders import add_user_folder, make_root

KEYS = Keyring([b"k" * 32])
JOE = Principal("joe-id", "/site/acl_users")


class Request:
    def __init__(self, **environ):
        self.environ = environ


@pytest.fixture
def user_folder():
    """With one user, and what lets her in; as yet without our plugin."""
    folder = add_user_folder(make_root().site)
    folder.users.addUser("joe-id", "joe", "secret")
    yield folder
    noSecurityManager()


@pytest.fixture
def plugin(user_folder):
    return installing.install_plugin(user_folder)


def replay_of(task, auth="principal", keyring=KEYS):
    """What is active while a task is replayed."""
    queue = Queue("mail", LocalQueue(name="mail"), auth=auth, keyring=keyring)
    return context.active(Origin({}, {}, None, queues=Queues({"mail": queue}), task=task))


def task_of(principal=JOE):
    return make_task(queue="mail", principal=principal)


def let_in(plugin, task, **replay):
    """As PAS asks: extract, say who did, authenticate."""
    with replay_of(task, **replay):
        credentials = plugin.extractCredentials(Request(**{TASK_KEY: task}))
        if not credentials:
            return None
        return plugin.authenticateCredentials({**credentials, "extractor": plugin.getId()})


def test_it_keeps_what_its_interfaces_promise(plugin):
    assert verifyObject(IExtractionPlugin, plugin)
    assert verifyObject(IAuthenticationPlugin, plugin)


def test_a_task_is_let_in_as_the_user_on_record(plugin):
    assert let_in(plugin, task_of()) == ("joe-id", "joe")


@pytest.mark.parametrize(
    "principal",
    [
        None,
        Principal("ann-id", "/site/acl_users"),
        Principal("JOE-ID", "/site/acl_users"),
        Principal("joe", "/site/acl_users"),
        Principal("", "/site/acl_users"),
        Principal("joe-id", "/acl_users"),
        Principal("joe-id", "/site/acl_users/"),
        Principal("joe-id", ""),
        Principal("Anonymous User", ""),
    ],
)
def test_nobody_else_is(plugin, principal):
    assert let_in(plugin, task_of(principal)) is None


def test_nobody_is_let_in_where_the_queue_copies_credentials(plugin):
    assert let_in(plugin, task_of(), auth="copy") is None


def test_nobody_is_let_in_where_the_queue_has_no_seal(plugin):
    assert let_in(plugin, task_of(), keyring=Keyring()) is None


def test_nobody_is_let_in_where_the_queue_is_not_known(plugin):
    task = make_task(queue="another", principal=JOE)
    assert let_in(plugin, task) is None


@pytest.mark.parametrize(
    "environ",
    [{}, {TASK_KEY: "joe-id"}, {TASK_KEY: {"principal": JOE}}, {"HTTP_X_TASK_USER_ID": "joe-id"}],
)
def test_without_a_task_in_the_environ_there_are_no_credentials_even_while_one_is_replayed(plugin, environ):
    with replay_of(task_of()):
        assert plugin.extractCredentials(Request(**environ)) == {}


def test_a_task_that_nobody_replays_here_is_not_let_in(plugin):
    task = task_of()
    assert plugin.extractCredentials(Request(**{TASK_KEY: task})) == {}
    with replay_of(task_of()):  # another one
        assert plugin.extractCredentials(Request(**{TASK_KEY: task})) == {}


def test_credentials_that_others_have_extracted_or_emptied_are_not_its_own(plugin):
    task = task_of()
    with replay_of(task):
        credentials = plugin.extractCredentials(Request(**{TASK_KEY: task}))
        assert plugin.authenticateCredentials(credentials) is None
        assert plugin.authenticateCredentials({**credentials, "extractor": "basic"}) is None
        assert plugin.authenticateCredentials({"extractor": plugin.getId()}) is None
        assert plugin.authenticateCredentials({}) is None
    assert plugin.authenticateCredentials({**credentials, "extractor": plugin.getId()}) is None


def test_no_two_credentials_are_the_same_so_that_no_cache_knows_them(plugin):
    task = task_of()
    request = Request(**{TASK_KEY: task})
    with replay_of(task):
        assert plugin.extractCredentials(request) != plugin.extractCredentials(request)


def test_a_user_who_was_deleted_between_both_questions_is_not_let_in(plugin, user_folder):
    task = task_of()
    with replay_of(task):
        credentials = plugin.extractCredentials(Request(**{TASK_KEY: task}))
        user_folder.users.removeUser("joe-id")
        assert plugin.authenticateCredentials({**credentials, "extractor": plugin.getId()}) is None
