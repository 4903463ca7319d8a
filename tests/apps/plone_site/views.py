"""The views. Each writes one line of JSON into the file that ZOPE_SITE_EFFECTS names."""

import json

import transaction
from plone.protect.authenticator import createToken
from plone.protect.interfaces import IDisableCSRFProtection
from Products.CMFCore.utils import getToolByName
from Products.Five import BrowserView
from zope.component.hooks import getSite
from zope.interface import alsoProvides
from zope_site.views import facts_of, write

import taskqueue


class Retitle(BrowserView):
    """A task that writes, as many do: nothing of its request says that it may."""

    def __call__(self):
        self.context.title = self.request.form["title"]
        self.context.reindexObject(idxs=["Title"])
        write(kind="retitle", **facts_of(self.context, self.request))
        return "done"


class Indexing(BrowserView):
    """Adds tasks while the catalogue has something to do at the commit."""

    def __call__(self):
        """Something is indexed before, and something after; the task sees both."""
        self._index("before")
        taskqueue.add(self._url())
        self._index("after")
        return "added"

    def in_hook(self):
        """A task is added where the catalogue is brought up to date, when ours has staged already."""
        self._index("before")
        taskqueue.add(self._url(number="1"))
        transaction.get().addBeforeCommitHook(lambda: taskqueue.add(self._url(number="2")))
        self._index("after")
        return "added"

    def fail_in_hook(self):
        """What is done before the commit fails: nothing commits."""
        taskqueue.add(self._url())
        self._index("before")
        transaction.get().addBeforeCommitHook(_fail)
        return "added"

    def _index(self, word):
        self.context.setDescription(f"{self.context.Description()} {word}{self.request.form['mark']}")
        self.context.reindexObject(idxs=["Description", "SearchableText"])

    def _url(self, **params):
        path = "/".join(self.context.getPhysicalPath())
        more = "".join(f"&{name}={value}" for name, value in params.items())
        return f"{path}/@@look_up?mark={self.request.form['mark']}{more}"


def _fail():
    raise ValueError("before the commit")


class LookUp(BrowserView):
    """Says what the catalogue knows."""

    def __call__(self):
        mark = self.request.form["mark"]
        catalog = getToolByName(self.context, "portal_catalog")
        found = {word: len(catalog(SearchableText=f"{word}{mark}")) for word in ("before", "after")}
        write(kind="look_up", found=found, **facts_of(self.context, self.request))
        return "done"

    def titles(self):
        """The title in the database, and the one in the catalogue."""
        catalog = getToolByName(self.context, "portal_catalog")
        [brain] = catalog(path={"query": "/".join(self.context.getPhysicalPath()), "depth": 0})
        return json.dumps([self.context.title, brain.Title])


class Members(BrowserView):
    """Users who come and go."""

    def __call__(self):
        alsoProvides(self.request, IDisableCSRFProtection)
        users = getToolByName(self.context, "acl_users")
        if "add" in self.request.form:
            user = self.request.form["add"]
            users.userFolderAddUser(user, f"{user}s-long-secret", ["Member"], [])
        if "remove" in self.request.form:
            users.userFolderDelUsers([self.request.form["remove"]])
        return "done"


class Token(BrowserView):
    """What a form has in a hidden field."""

    def __call__(self):
        return createToken()


def note_thread_afterwards(event):
    """What a task runs in: the site is the one that it was traversed through."""
    if "taskqueue.task" in event.request.environ:
        site = getSite()
        write(kind="site", site=site and site.getId())
