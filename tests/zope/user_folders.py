"""User folders in memory, without a running Zope: a root, a site in it, and what lets people in by basic auth."""

from OFS.Application import Application
from OFS.Folder import Folder
from Products.PluggableAuthService.PluggableAuthService import addPluggableAuthService
from Products.PluggableAuthService.plugins.HTTPBasicAuthHelper import addHTTPBasicAuthHelper
from Products.PluggableAuthService.plugins.ZODBUserManager import addZODBUserManager


def make_root():
    """With a site in it, and no user folder."""
    root = Application()
    if "acl_users" in root.objectIds():
        root._delObject("acl_users")
    root._setObject("site", Folder("site"))
    return root


def add_user_folder(place):
    addPluggableAuthService(place)
    folder = place.acl_users
    addHTTPBasicAuthHelper(folder, "basic")
    addZODBUserManager(folder, "users")
    folder.basic.manage_activateInterfaces(["IExtractionPlugin"])
    folder.users.manage_activateInterfaces(["IAuthenticationPlugin", "IUserEnumerationPlugin"])
    return folder
