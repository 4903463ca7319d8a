"""The queues as utilities of zope.component, by name, and their names as a vocabulary for forms and control panels."""

from __future__ import annotations

from typing import Any

from zope.component import getGlobalSiteManager, getUtilitiesFor
from zope.interface import implementer
from zope.schema.interfaces import IVocabularyFactory
from zope.schema.vocabulary import SimpleVocabulary

from ..interfaces import ITaskQueue, TaskQueue
from ..queues import Queues

VOCABULARY = "taskqueue.queues"


class _Registered:
    """What this module has registered, and nobody else."""

    backends: tuple[TaskQueue, ...] = ()


def publish(queues: Queues | None) -> None:
    """Have these found as utilities, in place of those that were published before."""
    registry = getGlobalSiteManager()
    for backend in _Registered.backends:
        registry.unregisterUtility(backend, ITaskQueue, backend.name)
    _Registered.backends = tuple(queue.backend for queue in (queues or {}).values())
    for backend in _Registered.backends:
        registry.registerUtility(backend, ITaskQueue, backend.name)


@implementer(IVocabularyFactory)
class QueueNames:
    """The names of the queues, in their order."""

    def __call__(self, _context: Any = None) -> Any:
        """The vocabulary, as of now."""
        return SimpleVocabulary.fromValues(sorted(name for name, _queue in getUtilitiesFor(ITaskQueue)))


def is_zcml_loaded() -> bool:
    """Whether our configure.zcml has been executed."""
    return getGlobalSiteManager().queryUtility(IVocabularyFactory, VOCABULARY) is not None
