"""A task as the model knows it, built from the table of transitions."""

from taskqueue.record import TRANSITIONS

from .making import HOUR


class StoppedClock:
    """A clock that stands still until it is turned, so that the model knows every time exactly."""

    def __init__(self):
        self.now = 1_800_000_000.0

    def __call__(self):
        return self.now


class Modelled:
    """One task as the model knows it; its state is None as long as the store has never seen it."""

    def __init__(self):
        self.gone_at = -HOUR
        self.claim_number = 0
        self.forget_all()

    def forget_all(self):
        self.state = None
        self.attempts = self.deaths = self.priority = 0
        self.suspect = self.wiped = False
        self.due = 0.0
        self.owner = ""
        self.finished_at = None

    def step(self, verb, to):
        """Take a step if the table has it; tell whether it does."""
        if to not in TRANSITIONS.get((self.state, verb), ()):
            return False
        self.state = to
        return True


def reachable(state, verbs):
    """Where a task may be after these verbs, in this order, each of which it may take or not."""
    states = {state}
    for verb in verbs:
        states |= {to for each in states for to in TRANSITIONS.get((each, verb), ())}
    return states
