"""The plugin for Products.PluggableAuthService that lets tasks in as the users on record, without any credentials.

===============  ===============================================================================================
``plugin``       what a user folder asks of it
``installing``   into a user folder, first in order, and out of it; the profiles of GenericSetup
===============  ===============================================================================================
"""

from __future__ import annotations

from typing import Any


def initialize(context: Any) -> None:
    """Zope asks for it at start: the plugin can be added in the ZMI, in user folders only."""
    from AccessControl.Permissions import manage_users  # noqa: PLC0415  # nothing of Zope is imported with the package
    from Products.PluggableAuthService.PluggableAuthService import (  # noqa: PLC0415  # the same
        MultiPlugins,
        registerMultiPlugin,
    )

    from . import installing, plugin  # noqa: PLC0415  # the same

    if plugin.TaskQueuePlugin.meta_type not in MultiPlugins:
        registerMultiPlugin(plugin.TaskQueuePlugin.meta_type)
    context.registerClass(
        plugin.TaskQueuePlugin,
        permission=manage_users,
        constructors=(installing.manage_addTaskQueuePluginForm, installing.manage_addTaskQueuePlugin),
        visibility=None,
    )
