"""As whom a request runs: recorded when it adds, and compared before a task's view runs.

The publisher asks the user folders around the object that it is about to call, the nearest first, and notes the user of
the first that lets the request in. A task whose user is not the one on record is refused: with credentials that have
ended, many views would run as Anonymous, and answer 200. Knows no plugins, and judges nothing but that.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from AccessControl.SecurityManagement import getSecurityManager, setSecurityManager
from Acquisition import aq_base, aq_parent
from zExceptions import Forbidden, Unauthorized

from .. import context
from ..context import ACKNOWLEDGEMENT_KEY, TASK_KEY
from ..queues import Queue
from ..record import Principal, Task

# Zope's name for nobody. No user folder has an empty path, so that no user of this id is taken for nobody.
ANONYMOUS = Principal("Anonymous User")
EMERGENCY = "emergency user"  # who has no id, and is in every user folder
PLUGIN_TYPE = "Task Queue Plugin"  # the meta_type of ours
USER_KEY = "AUTHENTICATED_USER"
LOGIN_HEADERS = frozenset({"authorization", "cookie"})


def principal_of(request: Any) -> Principal | None:
    """As whom the publisher has let a request in; None as long as it has not.

    The user of the request, not the one of the moment: code may work with other rights for a while, and a task that it
    adds meanwhile does not keep them.
    """
    # Of what the publisher has noted itself: a form may have a field of this name.
    user = getattr(request, "other", {}).get(USER_KEY)
    return None if user is None else _principal(user)


def _principal(user: Any) -> Principal:
    user_id = user.getId()
    if user_id is not None:
        return Principal(str(user_id), _path(aq_parent(user)))
    name = str(user.getUserName())
    return ANONYMOUS if name == ANONYMOUS.user_id else Principal(name, EMERGENCY)


def _path(folder: Any) -> str:
    has_path = hasattr(aq_base(folder), "getPhysicalPath")
    return "/".join(folder.getPhysicalPath()) if has_path else "zope"


def task_of(request: Any) -> Task | None:
    """The task whose request this is, by an object that no client can send."""
    task = request.environ.get(TASK_KEY)
    return task if isinstance(task, Task) else None


def queue_of(task: Task) -> Queue | None:
    """The queue that a task was taken from, if it is the one that this thread replays."""
    origin = context.active_origin()
    if origin is None or origin.task is not task or origin.queues is None:
        return None
    queue: Queue | None = origin.queues.get(task.queue)
    return queue


def may_be_let_in(task: Task) -> bool:
    """Whether the record alone says as whom a task runs: when its queue is told so, and nobody can have changed it."""
    queue = queue_of(task)
    return queue is not None and queue.auth == "principal" and bool(queue.keyring)


# ---- told by the publisher ---------------------------------------------------------------------------------------


def task_traversed(event: Any) -> None:
    """IPubAfterTraversal: the user is known, and the view has not run. Raises Forbidden."""
    task = task_of(event.request)
    if task is None or task.principal is None:
        return  # nobody knows who added it, as in scripts
    found = principal_of(event.request) or ANONYMOUS
    if found != task.principal:
        raise Forbidden(_refuse(event.request, task, task.principal, found))


def task_unauthorized(event: Any) -> None:
    """IPubBeforeAbort: the publisher may have let nobody in, where nobody may; then there was no traversal to compare.

    The user on record, without the right to do this any more, is answered as everybody is.
    """
    request = event.request
    task = task_of(request)
    if task is None or task.principal in (None, ANONYMOUS) or principal_of(request) is not None:
        return
    if isinstance(event.exc_info[1], Unauthorized) and "PUBLISHED" in request.other:
        assert task.principal is not None  # noqa: S101  # for the type checker, which does not see it
        if not _lets_in(request, task.principal):
            _refuse(request, task, task.principal, ANONYMOUS)


def _refuse(request: Any, task: Task, recorded: Principal, found: Principal) -> str:
    reason = f"added by {_named(recorded)}, it would run as {_named(found)}; {_explanation(request, task, recorded)}"
    acknowledgement = request.environ.get(ACKNOWLEDGEMENT_KEY)
    if acknowledgement is not None:
        acknowledgement.refuse(reason)
    return reason


# ---- user folders ------------------------------------------------------------------------------------------------


def _user_folders(request: Any) -> Iterator[Any]:
    """Those that the publisher asks, the nearest first."""
    for each in (request.other.get("PUBLISHED"), *request.other.get("PARENTS", ())):
        folder = getattr(each, "__allow_groups__", None)
        if folder is not None and hasattr(folder, "validate"):
            yield folder


def _user_folder(request: Any, path: str) -> Any:
    return next((folder for folder in _user_folders(request) if _path(folder) == path), None)


def _lets_in(request: Any, recorded: Principal) -> bool:
    """Whether the user folder on record would take the request for the user's, whatever the user may do there."""
    folder = _user_folder(request, recorded.source)
    if folder is None:
        return recorded.source == EMERGENCY
    manager = getSecurityManager()
    try:
        user = folder.validate(request, request._auth, ("Authenticated",))
        return user is not None and _principal(user) == recorded
    except Exception:  # noqa: BLE001  # a user folder may be anybody's, and its trouble may pass: try again
        return True
    finally:
        setSecurityManager(manager)


def _exists(folder: Any, user_id: str) -> bool:
    try:
        return folder.getUserById(user_id) is not None
    except Exception:  # noqa: BLE001  # the same; this is only for the text
        return True


# ---- in words ----------------------------------------------------------------------------------------------------


def _named(principal: Principal) -> str:
    if principal == ANONYMOUS:
        return "Anonymous"
    return f"{principal.user_id!r} of {principal.source}"


def _explanation(request: Any, task: Task, recorded: Principal) -> str:
    if recorded == ANONYMOUS:
        return "a credential that its request brought along is good for somebody here"
    folder = _user_folder(request, recorded.source)
    if folder is None:
        return "that user folder is gone, or has no say at this path"
    if not _exists(folder, recorded.user_id):
        return "there is no such user any more, or it is disabled"
    return _why_not_let_in(folder) if may_be_let_in(task) else _why_not_logged_in(task)


def _why_not_let_in(folder: Any) -> str:
    list_ids = getattr(aq_base(folder), "objectIds", None)  # a user folder without plugins would acquire it
    if list_ids is None or not list_ids(PLUGIN_TYPE):
        return f"auth = principal needs a {PLUGIN_TYPE} in that user folder"
    return f"the {PLUGIN_TYPE} of that user folder is not active, or another plugin refuses this user"


def _why_not_logged_in(task: Task) -> str:
    if any(name.lower() in LOGIN_HEADERS for name, _value in task.headers):
        return "the credentials of its request are not good any more, or not at this path"
    return "its record has neither Cookie nor Authorization to log in with"
