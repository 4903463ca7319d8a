"""What is left of the old plugin: run by ``zconsole run``."""

import json

site = globals()["app"].Plone  # zconsole gives it
plugins = site.acl_users.plugins
active = [kind["id"] for kind in plugins.listPluginTypeInfo() if "taskauth" in plugins.listPluginIds(kind["interface"])]
version = site.portal_setup.getLastVersionForProfile("collective.taskqueue.pasplugin:default")
print("LEFT", json.dumps({"object": "taskauth" in site.acl_users.objectIds(), "active": active, "version": version}))
