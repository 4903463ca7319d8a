"""The plugin into a user folder, where it is asked first, and out of it: by code, by GenericSetup, and in the ZMI."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from Acquisition import aq_base, aq_chain, aq_inner, aq_parent
from Products.PageTemplates.PageTemplateFile import PageTemplateFile
from Products.PluggableAuthService.interfaces.authservice import IPluggableAuthService
from Products.PluggableAuthService.interfaces.plugins import IAuthenticationPlugin, IExtractionPlugin

from .plugin import TaskQueuePlugin

DEFAULT_ID = "taskqueue"

_log = logging.getLogger("taskqueue")


def install_plugin(user_folder: Any, plugin_id: str = DEFAULT_ID, title: str = "") -> TaskQueuePlugin:
    """Have a Pluggable Auth Service let tasks in; returns its plugin. One that is there already is put in order.

    Raises ValueError for another kind of user folder, and for one in which nobody but tasks could log in afterwards.
    """
    path = "/".join(user_folder.getPhysicalPath())
    if not IPluggableAuthService.providedBy(user_folder):
        raise ValueError(f"{path} is a {user_folder.meta_type}; only a Pluggable Auth Service has plugins")
    plugin = next(iter(plugins_of(user_folder)), None)
    if plugin is None:
        if not user_folder.plugins.listPluginIds(IExtractionPlugin):
            # PAS stands in for it with basic authentication, and would do so no longer.
            raise ValueError(f"{path} has no active plugin for extraction: activate an HTTP Basic Auth Helper first")
        user_folder._setObject(plugin_id, TaskQueuePlugin(plugin_id, title))
        plugin = user_folder[plugin_id]
    _activate(user_folder.plugins, plugin.getId())
    return plugin


def _activate(registry: Any, plugin_id: str) -> None:
    """First of those that extract: a task is its user, whatever its request may carry besides.

    Last of those that authenticate, as new ones are: plugins that lock users out are asked before.
    """
    for interface in (IExtractionPlugin, IAuthenticationPlugin):
        if plugin_id not in registry.listPluginIds(interface):
            registry.activatePlugin(interface, plugin_id)
    while registry.listPluginIds(IExtractionPlugin)[0] != plugin_id:
        registry.movePluginsUp(IExtractionPlugin, [plugin_id])


def uninstall_plugin(user_folder: Any) -> None:
    """Take the plugin out of a user folder; where there is none, nothing is done."""
    for plugin in plugins_of(user_folder):
        plugin_id = plugin.getId()
        for interface in (IExtractionPlugin, IAuthenticationPlugin):
            if plugin_id in user_folder.plugins.listPluginIds(interface):
                user_folder.plugins.deactivatePlugin(interface, plugin_id)
        user_folder._delObject(plugin_id)


def plugins_of(user_folder: Any) -> list[TaskQueuePlugin]:
    """Ours in a user folder."""
    if not IPluggableAuthService.providedBy(user_folder):
        return []
    return list(user_folder.objectValues(TaskQueuePlugin.meta_type))


# ---- GenericSetup ------------------------------------------------------------------------------------------------


def install(setup_tool: Any) -> None:
    """After the default profile: into the site's user folder, and those further up, whose users come here, too."""
    found = [folder for folder in _user_folders(setup_tool) if IPluggableAuthService.providedBy(folder)]
    if not found:
        raise ValueError("there is no Pluggable Auth Service here: only such a user folder has plugins")
    for folder in found:
        install_plugin(folder)
        _log.info("A %s is in %s.", TaskQueuePlugin.meta_type, "/".join(folder.getPhysicalPath()))


def uninstall(setup_tool: Any) -> None:
    """After the profile uninstall: out of the site's user folder. Those further up may serve other sites."""
    own = getattr(aq_base(_site_of(setup_tool)), "acl_users", None)
    for folder in _user_folders(setup_tool):
        path = "/".join(folder.getPhysicalPath())
        if aq_base(folder) is aq_base(own):
            uninstall_plugin(folder)
        elif plugins_of(folder):
            _log.warning(
                "The %s in %s stays, for other sites: when there are none, delete it before the package goes.",
                TaskQueuePlugin.meta_type,
                path,
            )


def _site_of(setup_tool: Any) -> Any:
    return aq_parent(aq_inner(setup_tool))


def _user_folders(setup_tool: Any) -> Iterator[Any]:
    """The site's, and those further up."""
    for parent in aq_chain(aq_inner(_site_of(setup_tool))):
        if hasattr(aq_base(parent), "acl_users"):
            yield parent.acl_users


# ---- the ZMI -----------------------------------------------------------------------------------------------------

manage_addTaskQueuePluginForm = PageTemplateFile(  # noqa: N816  # the name is ZMI's
    "www/add.zpt", globals(), __name__="manage_addTaskQueuePluginForm"
)


def manage_addTaskQueuePlugin(  # noqa: N802  # the same
    dispatcher: Any,
    id: str = DEFAULT_ID,  # noqa: A002  # a field of the form
    title: str = "",
    REQUEST: Any = None,  # noqa: N803  # the publisher gives it
) -> None:
    """Add the plugin to a user folder, activate it, and put it first."""
    user_folder = dispatcher.this()
    install_plugin(user_folder, id, title)
    if REQUEST is not None:
        REQUEST.RESPONSE.redirect(f"{user_folder.absolute_url()}/manage_workspace?manage_tabs_message=Plugin+added.")
