"""Every error that this package raises on purpose, caught by its meaning.

The text of each says what to do about it. Nothing here holds header values, payloads or passwords.
"""


class TaskQueueError(Exception):
    """The root of all errors of this package."""


class ConfigurationError(TaskQueueError):
    """The configuration cannot be used; the one-line text names the place and what is allowed there."""


class InvalidTaskError(TaskQueueError, ValueError):
    """What was given to ``add`` cannot become a task."""


class TooLargeError(InvalidTaskError):
    """A payload or the headers are over the limits of the queue."""


class PayloadLostError(InvalidTaskError):
    """The body of the active request is to be copied, but can no longer be had."""


class UnknownQueueError(TaskQueueError, LookupError):
    """No queue of that name is configured; the text names those that are."""


class BackendError(TaskQueueError):
    """The backend did not do what it was asked to."""


class BackendUnavailableError(BackendError):
    """The backend cannot be reached, did not answer in time, or cannot write."""

    only_adding = False  # whether it is certain that it still does everything but take new tasks


class BackendReplacedError(BackendUnavailableError):
    """What held the tasks was deleted or replaced while in use. Told once: the next call uses what is there now."""


class QueueFullError(BackendError):
    """The queue holds as many tasks as its ``length_limit`` allows."""


class RecordError(TaskQueueError):
    """A stored record cannot be read as a task."""


class UnknownRecordError(RecordError):
    """A record of a version, kind or key that this release or configuration does not know: left, not dropped."""


class BrokenSealError(RecordError):
    """A record that was not sealed with a key of this configuration, or was changed since: never run."""
