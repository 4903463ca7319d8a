"""The views. What they add and what they change is committed together, so the task always comes after the change."""

import json

from AccessControl.SecurityManagement import getSecurityManager, newSecurityManager, setSecurityManager
from AccessControl.users import system
from Products.Five import BrowserView

import taskqueue
from taskqueue.zope.pas.installing import install_plugin


def make_user(folder, name):
    """As it was at first, whatever was done to it."""
    user = f"{name}-id"
    if user in folder.users.listUserIds():
        folder.users.removeUser(user)
    folder.users.addUser(user, name, f"{name}s-secret")
    folder.roles.assignRoleToPrincipal("Manager", user)
    if "lockout" in folder.objectIds():
        folder.lockout.locked = ()


def remove(folder, user):
    folder.users.removeUser(user)


def remove_from_plain(folder, user):
    folder._doDelUsers([user])


def change_password(folder, user):
    folder.users.updateUserPassword(user, "another-secret")


def lock_out(folder, user):
    folder.lockout.locked += (folder.users.getLoginForUserId(user),)


def take_role(folder, user):
    folder.roles.removeRoleFromPrincipal("Manager", user)


def take_plugin(folder, _user):
    folder.taskqueue.manage_activateInterfaces([])


def nothing(_folder, _user):
    pass


CHANGES = {
    change.__name__: change
    for change in (remove, remove_from_plain, change_password, lock_out, take_role, take_plugin, nothing)
}


class AddAnd(BrowserView):
    """Adds ``task``, and then does ``change`` to ``user``."""

    def __call__(self):
        form = self.request.form
        headers = json.loads(form.get("headers", "null"))
        task_id = taskqueue.add(form["task"], queue=form.get("queue", "default"), headers=headers)
        CHANGES[form.get("change", "nothing")](self.context.acl_users, form.get("user"))
        return task_id


class AddAsAnother(BrowserView):
    """Adds ``task`` while it works with the rights of the system."""

    def __call__(self):
        manager = getSecurityManager()
        newSecurityManager(None, system)
        try:
            return taskqueue.add(self.request.form["task"], queue=self.request.form["queue"])
        finally:
            setSecurityManager(manager)


class MakeUser(BrowserView):
    """Makes the user ``name`` again."""

    def __call__(self):
        make_user(self.context.acl_users, self.request.form["name"])
        return "made"


class InstallPlugin(BrowserView):
    """Puts the plugin in order again."""

    def __call__(self):
        install_plugin(self.context.acl_users)
        return "installed"


class MakePlainUser(BrowserView):
    """Makes the user of the folder without plugins again."""

    def __call__(self):
        self.context.acl_users._doAddUser("pia", "pias-secret", ["Manager"], [])
        return "made"
