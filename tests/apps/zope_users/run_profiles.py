"""Installs the profile in a site that never had it, and uninstalls it again: run by ``zconsole run``."""

from Products.GenericSetup.tool import SetupTool
from Products.PluggableAuthService.interfaces.plugins import IAuthenticationPlugin, IExtractionPlugin

from taskqueue.zope.pas.installing import uninstall_plugin

site = globals()["app"].elsewhere  # zconsole gives it
registry = site.acl_users.plugins


def show():
    kinds = (IExtractionPlugin, IAuthenticationPlugin)
    print("order:", " / ".join(" ".join(registry.listPluginIds(kind)) for kind in kinds))


uninstall_plugin(site.acl_users)
show()
site._setObject("setup", SetupTool("setup"))
for profile in ("default", "uninstall"):
    site.setup.runAllImportStepsFromProfile(f"profile-taskqueue.zope.pas:{profile}")
    show()
