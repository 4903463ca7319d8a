"""A plugin that locks users out, as sites have them: it empties the credentials, so that no other plugin knows them."""

from AccessControl.class_init import InitializeClass
from Products.PluggableAuthService.interfaces.plugins import IAuthenticationPlugin
from Products.PluggableAuthService.plugins.BasePlugin import BasePlugin
from zope.interface import implementer


@implementer(IAuthenticationPlugin)
class Lockout(BasePlugin):
    meta_type = "Lockout"
    locked = ()

    def __init__(self, plugin_id):
        self._setId(plugin_id)

    def authenticateCredentials(self, credentials):  # noqa: N802  # the name is PAS's
        if credentials.get("login") in self.locked:
            credentials.clear()


InitializeClass(Lockout)
