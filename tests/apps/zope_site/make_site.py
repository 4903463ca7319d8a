"""What the tests need in the database: run by ``zconsole run``."""

import transaction
from OFS.Folder import manage_addFolder
from Products.PluggableAuthService.PluggableAuthService import addPluggableAuthService
from Products.PythonScripts.PythonScript import manage_addPythonScript

import taskqueue

root = globals()["app"]  # zconsole gives it
if "site" not in root.objectIds():
    for name in ("site", "sîte", "elsewhere"):
        manage_addFolder(root, name)
    manage_addFolder(root.site, "sub")
    root.acl_users._doAddUser("anna", "annas-secret", ["Manager"], [])

    addPluggableAuthService(root.elsewhere)
    folder = root.elsewhere.acl_users
    dispatcher = folder.manage_addProduct["PluggableAuthService"]
    dispatcher.addCookieAuthHelper("cookies", cookie_name="__ac")
    dispatcher.addHTTPBasicAuthHelper("basic")
    dispatcher.addZODBUserManager("users")
    dispatcher.addZODBRoleManager("roles")
    for plugin, kinds in {
        "cookies": ["IExtractionPlugin", "ICredentialsUpdatePlugin", "ICredentialsResetPlugin"],
        "basic": ["IExtractionPlugin"],
        "users": ["IAuthenticationPlugin", "IUserEnumerationPlugin"],
        "roles": ["IRolesPlugin"],
    }.items():
        folder[plugin].manage_activateInterfaces(kinds)
    folder.users.addUser("joe-id", "joe", "joes-secret")
    folder.roles.assignRoleToPrincipal("Manager", "joe-id")

    manage_addPythonScript(root.site, "hello")
    root.site.hello.ZPythonScript_edit("", "return context.restrictedTraverse('@@note')()\n")
    root.virtual_hosting.set_map("mapped.example.org/site")
    transaction.commit()

taskqueue.add("/site/@@note", params={"from": "zconsole"})
transaction.commit()
