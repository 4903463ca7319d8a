"""What a user folder asks of the plugin: who is behind this request, and is it true?

It answers for tasks only, and trusts nothing but the object that the replay puts into the environ, where no client can
put anything: no header, no cookie, no form. The user must be one of this very user folder, as of now; PAS looks up
roles and groups as it does for everybody.
"""

from __future__ import annotations

import secrets
from typing import Any

from AccessControl.class_init import InitializeClass
from AccessControl.SecurityInfo import ClassSecurityInfo
from Products.PluggableAuthService.interfaces.plugins import (
    IAuthenticationPlugin,
    IExtractionPlugin,
    IUserEnumerationPlugin,
)
from Products.PluggableAuthService.plugins.BasePlugin import BasePlugin
from zope.interface import implementer

from ... import context
from ...record import Task
from .. import identity

TASK_WORD = "taskqueue_task"
ONCE_WORD = "taskqueue_once"


@implementer(IExtractionPlugin, IAuthenticationPlugin)
class TaskQueuePlugin(BasePlugin):  # type: ignore[misc]  # PAS publishes no types
    """Lets a task in as its user on record, where its queue says ``auth = principal`` and has a ``secret``."""

    meta_type = identity.PLUGIN_TYPE
    zmi_icon = "fas fa-tasks"
    security = ClassSecurityInfo()
    security.declarePrivate("extractCredentials", "authenticateCredentials")  # not by a URL

    def __init__(self, plugin_id: str, title: str = "") -> None:
        self._setId(plugin_id)
        self.title = title

    def extractCredentials(self, request: Any) -> dict[str, str]:  # noqa: N802  # the name is PAS's
        """The login of the user of a task, by which plugins that lock users out may know it; empty for all others."""
        task = identity.task_of(request)
        user = self._user_of(task) if task is not None else None
        if task is None or user is None:
            return {}
        # PAS may have a cache for who has which credentials. These are good once: a user may be deleted meanwhile.
        return {"login": user[1], TASK_WORD: task.id, ONCE_WORD: secrets.token_hex(16)}

    def authenticateCredentials(self, credentials: dict[str, str]) -> tuple[str, str] | None:  # noqa: N802  # PAS's, too
        """The id and login of a task's user, when the credentials are of our own making."""
        # PAS itself says who has extracted them. Whatever stands in them beside that may be a client's word.
        task = context.current_task()
        if task is None or credentials.get("extractor") != self.getId() or credentials.get(TASK_WORD) != task.id:
            return None
        return self._user_of(task)

    def _user_of(self, task: Task) -> tuple[str, str] | None:
        """The id and login of the user that a task is let in as; None when it is not."""
        principal = task.principal
        folder = self._getPAS()
        if principal is None or not identity.may_be_let_in(task):
            return None
        if principal.source != "/".join(folder.getPhysicalPath()):
            return None  # of another user folder, which has its own
        # Not by PAS's own methods, which may answer out of a cache.
        for _plugin_id, enumerator in folder.plugins.listPlugins(IUserEnumerationPlugin):
            for found in enumerator.enumerateUsers(id=principal.user_id, exact_match=True) or ():
                if found.get("id") == principal.user_id:
                    return principal.user_id, str(found.get("login") or principal.user_id)
        return None


InitializeClass(TaskQueuePlugin)
