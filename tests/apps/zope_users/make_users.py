"""User folders with plugins, at the root and below, and users in both: run by ``zconsole run``."""

import transaction
from OFS.Folder import manage_addFolder
from OFS.userfolder import UserFolder
from Products.PluggableAuthService.interfaces.plugins import IAuthenticationPlugin
from Products.PluggableAuthService.PluggableAuthService import addPluggableAuthService

import taskqueue
from taskqueue.zope.pas.installing import install_plugin
from zope_users.plugins import Lockout
from zope_users.views import make_user

LOWER = ("joe", "ann", "bob", "cyd", "dan", "eve", "fay")
UPPER = ("max", "uma")

root = globals()["app"]  # zconsole gives it
root._delObject("acl_users")
addPluggableAuthService(root)
folder = root.acl_users
dispatcher = folder.manage_addProduct["PluggableAuthService"]
dispatcher.addHTTPBasicAuthHelper("basic")
dispatcher.addZODBUserManager("users")
dispatcher.addZODBRoleManager("roles")
folder.basic.manage_activateInterfaces(["IExtractionPlugin"])
folder.users.manage_activateInterfaces(["IAuthenticationPlugin", "IUserEnumerationPlugin"])
folder.roles.manage_activateInterfaces(["IRolesPlugin"])

root.elsewhere.acl_users._setObject("lockout", Lockout("lockout"))
root.elsewhere.acl_users.lockout.manage_activateInterfaces(["IAuthenticationPlugin"])
root.elsewhere.acl_users.plugins.movePluginsTop(IAuthenticationPlugin, ["lockout"])

for place, names in ((root, UPPER), (root.elsewhere, LOWER)):
    for name in names:
        make_user(place.acl_users, name)
    install_plugin(place.acl_users)
manage_addFolder(root, "plain")
root.plain._setObject("acl_users", UserFolder())
root.plain.acl_users._doAddUser("pia", "pias-secret", ["Manager"], [])
taskqueue.add("/elsewhere/@@note", params={"from": "make_users"})
transaction.commit()
