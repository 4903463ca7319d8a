"""The views. Each writes one line of JSON into the file that ZOPE_SITE_EFFECTS names."""

import json
import os
import threading

import transaction
from AccessControl import getSecurityManager
from Products.Five import BrowserView
from ZODB.POSException import ConflictError
from zope.component import getGlobalSiteManager, getUtilitiesFor, getUtility
from zope.component.hooks import getSite, setSite
from zope.schema.interfaces import IVocabularyFactory

import taskqueue
from taskqueue import notices
from taskqueue.interfaces import ITaskQueue, ITaskQueueLayer

_writing = threading.Lock()


def write(**facts):
    with _writing, open(os.environ["ZOPE_SITE_EFFECTS"], "a") as effects:
        effects.write(json.dumps(facts) + "\n")


def facts_of(context, request):
    """What a request looks like from inside: the same for whom it was added, and for the task."""
    user = getSecurityManager().getUser()
    return {
        "user": user.getUserName(),
        "roles": sorted(user.getRoles()),
        "url": context.absolute_url(),
        "here": request["URL"],
        "path": "/".join(context.getPhysicalPath()),
        "client": request.getClientAddr(),
        "form": {name: value for name, value in request.form.items() if isinstance(value, str)},
        "method": request.method,
        "is_task": ITaskQueueLayer.providedBy(request),
        "forged": request.get_header("X-Task-Id") if not ITaskQueueLayer.providedBy(request) else None,
    }


class Add(BrowserView):
    """Adds a task: ``task``, and whatever else ``taskqueue.add`` takes as text."""

    def __call__(self):
        task_id = self._add()
        self.request.response.setHeader("Content-Type", "application/json")
        return json.dumps({"id": task_id, **facts_of(self.context, self.request)})

    def many(self):
        """The same task ``count`` times, and the writers' counters at once."""
        for number in range(int(self.request.form["count"])):
            taskqueue.add(self.request.form["task"], params={"number": number})
        return "added"

    def then_fail(self):
        """Adds, and raises."""
        self._add()
        raise ValueError("after add")

    def _add(self):
        given = {key: self.request.form[key] for key in ("method", "queue") if key in self.request.form}
        if "with_write" in self.request.form:
            self.context.manage_changeProperties(title=self.request.form["with_write"])
        if "with_request" in self.request.form:
            given["request"] = self.request
        return taskqueue.add(self.request.form["task"], **given)


class Note(BrowserView):
    """The task."""

    def __call__(self):
        write(kind=self.__name__, **facts_of(self.context, self.request))
        return "noted"


class Word(BrowserView):
    """For everybody but tasks."""

    def __call__(self):
        return "for people"


class Counter(BrowserView):
    """Writes where thirty others write, so that they conflict."""

    def __call__(self):
        root = self.context.getPhysicalRoot()
        numbers = list(getattr(root, "numbers", ()))
        if self.request.retry_count:
            write(kind="conflicted", number=int(self.request.form["number"]))
        else:
            # So that two have read the same before either writes; the last one may find no other.
            try:
                _writers.wait(0.1)
            except threading.BrokenBarrierError:
                _writers.reset()
        numbers.append(int(self.request.form["number"]))
        root.numbers = tuple(numbers)
        return "written"


class Trouble(BrowserView):
    """Tasks that do not go well at first."""

    def __call__(self):
        """Fail with an error the first time."""
        if self._count("error") == 1:
            raise ValueError("once")
        write(kind="fail_once", mark=self.request.form["mark"])
        return "done"

    def conflict(self):
        """Conflict more often than the publisher tries."""
        write(kind="conflicting", attempt=self.request.retry_count)
        if self._count("conflict") <= int(self.request.form["times"]):
            raise ConflictError
        write(kind="conflict over")
        return "done"

    def doom(self):
        """Answer 200, and commit nothing, the first time."""
        if self._count("doom") == 1:
            transaction.doom()
        else:
            write(kind="doom over", mark=self.request.form["mark"])
        return "done"

    def slow(self):
        """Still at work when the process is told to end."""
        write(kind="slow begins")
        stopping.wait()
        write(kind="slow ends")
        return "done"

    def litter(self):
        """Leave a site behind."""
        setSite(_LeftBehind())
        write(kind="litter")
        return "done"

    def _count(self, kind):
        key = f"{kind}:{self.request.form.get('mark', '')}"
        with _writing:
            counts[key] = counts.get(key, 0) + 1
            return counts[key]


counts = {}
_writers = threading.Barrier(2)


class _LeftBehind:
    """A site."""

    def getSiteManager(self):  # noqa: N802  # zope.component's name
        return getGlobalSiteManager()


class _Stopping:
    """Set as soon as the consumers were told to stop; a task that waits for it is one that runs then."""

    def wait(self):
        done = threading.Event()
        notices.listen(lambda notice: done.set() if notice.event is notices.Event.CONSUMER_STOPPING else None)
        done.wait(20)


stopping = _Stopping()


class State(BrowserView):
    """What is to be seen from outside."""

    def __call__(self):
        root = self.context.getPhysicalRoot()
        names = getUtility(IVocabularyFactory, "taskqueue.queues")(self.context)
        return json.dumps(
            {
                "numbers": sorted(getattr(root, "numbers", ())),
                "queues": {name: len(queue) for name, queue in getUtilitiesFor(ITaskQueue)},
                "names": [term.value for term in names],
                "threads": sorted(thread.name for thread in threading.enumerate()),
            }
        )


def note_thread(event):
    """What a thread of consumers brings to a task, before anything of the task has run."""
    if "taskqueue.task" in event.request.environ and event.request.retry_count == 0:
        user = getSecurityManager().getUser()
        write(
            kind="thread",
            site=repr(getSite()),
            found_user=user.getUserName() if user is not None else None,
            resources=len([each for each in transaction.get()._resources if not hasattr(each, "taskqueue_volatile")]),
        )
