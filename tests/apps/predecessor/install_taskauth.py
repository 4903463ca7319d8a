"""Puts the old plugin into a site's user folder, first in order, as its profile did: run by ``zconsole run``."""

import transaction
from collective.taskqueue.pasplugin.taskauthplugin import TaskQueueAuthPlugin

site = globals()["app"].Plone  # zconsole gives it
site.acl_users._setObject("taskauth", TaskQueueAuthPlugin("taskauth"))
plugins = site.acl_users.plugins
for kind in ("IExtractionPlugin", "IAuthenticationPlugin"):
    interface = plugins._getInterfaceFromName(kind)
    plugins.activatePlugin(interface, "taskauth")
    plugins.movePluginsTop(interface, ["taskauth"])
site.portal_setup.setLastVersionForProfile("collective.taskqueue.pasplugin:default", "1")
transaction.commit()
