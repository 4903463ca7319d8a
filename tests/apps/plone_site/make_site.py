"""A Plone site, and users in it, without a browser: run by ``zconsole run``."""

import transaction
from AccessControl.SecurityManagement import newSecurityManager
from Products.CMFPlone.factory import addPloneSite
from Testing.makerequest import makerequest
from zope.component.hooks import setSite
from zope.globalrequest import setRequest

root = makerequest(globals()["app"])  # zconsole gives it
setRequest(root.REQUEST)
newSecurityManager(None, root.acl_users.getUser("admin").__of__(root.acl_users))
extensions = ("plone.app.contenttypes:default", "plonetheme.barceloneta:default")
site = addPloneSite(root, "Plone", title="A site", setup_content=False, extension_ids=extensions)
setSite(site)
for profile in ("plone.restapi:default", "taskqueue.zope.pas:default"):
    site.portal_setup.runAllImportStepsFromProfile(f"profile-{profile}")
for user, roles in {"joe": ["Manager"], "mary": ["Member"]}.items():
    site.acl_users.userFolderAddUser(user, f"{user}s-long-secret", roles, [])
site.portal_workflow.setDefaultChain("simple_publication_workflow")
for name in ("news", "shop"):
    site.invokeFactory("Document" if name == "news" else "Folder", name, title=name)
transaction.commit()
