"""A plugin of the same path and type, which looks for the same header."""

from Products.PluggableAuthService.interfaces.plugins import IAuthenticationPlugin, IExtractionPlugin
from Products.PluggableAuthService.plugins.BasePlugin import BasePlugin
from zope.interface import implementer


@implementer(IExtractionPlugin, IAuthenticationPlugin)
class TaskQueueAuthPlugin(BasePlugin):
    meta_type = "Task Queue Auth Plugin"

    def __init__(self, plugin_id):
        self._setId(plugin_id)

    def extractCredentials(self, request):  # noqa: N802  # the name is PAS's
        user_id = request.getHeader("X-Task-User-Id")
        return {"login": user_id} if user_id else {}

    def authenticateCredentials(self, credentials):  # noqa: N802  # the same
        user_id = credentials.get("login")
        return (user_id, user_id) if credentials.get("extractor") == self.getId() else None
