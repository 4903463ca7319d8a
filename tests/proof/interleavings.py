"""Every order in which two owners, a keeper and two consumers can take their steps: all of it is tried.

Two transactions add one task each. One keeper settles what is held; it asks and acts in two steps, and may die in
between. One consumer runs what is ready, and a successor does as well once that one has lapsed or died. The rules, and
what each step does to a task, are those of ``protocol``; here is who may take one, and the search.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from functools import cache, partial
from itertools import combinations_with_replacement
from typing import NamedTuple

from . import protocol
from .protocol import KINDS, Kind, Rules, Task


class Answer(NamedTuple):
    """What the keeper was told of a task, and has not acted upon yet."""

    task: int
    is_yes: bool


class Work(NamedTuple):
    """A claim in the hands of a consumer."""

    task: int
    token: int
    has_run: bool = False


class Consumer(NamedTuple):
    """It has one claim at a time. The first one may lapse and die, its successor does neither."""

    life: str = "living"  # lapsed: it goes on as if nothing had been; dead
    work: Work | None = None


class State(NamedTuple):
    """All there is."""

    tasks: tuple[Task, ...]
    answer: Answer | None = None
    consumers: tuple[Consumer, Consumer] = (Consumer(), Consumer())

    def with_task(self, index: int, task: Task) -> State:
        """One task is another."""
        return self._replace(tasks=(*self.tasks[:index], protocol.reduced(task), *self.tasks[index + 1 :]))

    def with_consumer(self, number: int, consumer: Consumer) -> State:
        """One consumer is another."""
        first, successor = self.consumers
        return self._replace(consumers=(consumer, successor) if number == 0 else (first, consumer))


Move = tuple[str, State]

# ---- everything that can happen next -----------------------------------------------------------------------------


class Actors:
    """All who act under one set of rules. What depends on one task alone is worked out once."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._steps_of_task = cache(self._find_steps_of_task)
        self._ask = cache(partial(protocol.ask, rules))

    def moves(self, state: State) -> Iterator[Move]:
        """All states that can come next, each with who did what."""
        for index, task in enumerate(state.tasks):
            for label, after in self._steps_of_task(index, task):
                yield label, state.with_task(index, after)
        yield from self._ask_witnesses(state) if state.answer is None else self._settle(state, state.answer)
        first, successor = state.consumers
        if first.life != "dead":
            yield from self._consume(state, 0, first)
            if first.work is not None:  # one that has nothing takes nothing along
                yield "the consumer dies", state.with_consumer(0, Consumer("dead"))
        if first.life != "living":
            yield from self._consume(state, 1, successor)
        if first.life != "lapsed":
            yield from self._reclaim(state, first)

    def _find_steps_of_task(self, index: int, task: Task) -> list[tuple[str, Task]]:
        of_owner = [(f"owner {index + 1} {label}", after) for label, after in protocol.owner_steps(self._rules, task)]
        of_world = [(f"{label} (task {index + 1})", after) for label, after in protocol.world_steps(self._rules, task)]
        return of_owner + of_world

    def _ask_witnesses(self, state: State) -> Iterator[Move]:
        for index, task in enumerate(state.tasks):
            if task.store == "held":
                after, answer = self._ask(task)
                known = Answer(index, answer == "yes") if answer in ("yes", "no") else None
                verb = "presumes" if self._rules.presumes else "asks"
                label = f"the keeper {verb} whether transaction {index + 1} has committed: {answer}"
                yield label, state.with_task(index, after)._replace(answer=known)

    def _settle(self, state: State, answer: Answer) -> Iterator[Move]:
        after = protocol.settled(self._rules, state.tasks[answer.task], answer.is_yes)
        label = f"the keeper {'publishes' if answer.is_yes else 'discards'} task {answer.task + 1}"
        yield label, state.with_task(answer.task, after)._replace(answer=None)
        yield "the keeper dies, and the next one knows of no answer", state._replace(answer=None)

    def _consume(self, state: State, number: int, consumer: Consumer) -> Iterator[Move]:
        name = ("the consumer", "its successor")[number]
        if consumer.work is None:
            yield from self._claim(state, number, consumer, name)
            return
        index, token, has_run = consumer.work
        task = state.tasks[index]
        if has_run:
            after, work = protocol.handed_in(self._rules, task, number, token), None
            label = f"{name} hands in what became of task {index + 1}"
        else:
            after, work = protocol.replayed(task), Work(index, token, has_run=True)
            label = f"{name} runs task {index + 1}"
        yield label, state.with_task(index, after).with_consumer(number, consumer._replace(work=work))

    def _claim(self, state: State, number: int, consumer: Consumer, name: str) -> Iterator[Move]:
        for index, task in enumerate(state.tasks):
            if task.store == "ready":
                after = protocol.claimed(task, number)
                work = Work(index, protocol.token(self._rules, after))
                yield (
                    f"{name} claims task {index + 1}",
                    state.with_task(index, after).with_consumer(number, consumer._replace(work=work)),
                )

    def _reclaim(self, state: State, first: Consumer) -> Iterator[Move]:
        """A living one lapses once: after that it has an old claim in its hands, and more would show nothing else."""
        life = "lapsed" if first.life == "living" else first.life
        for index, task in enumerate(state.tasks):
            if task.store == "running" and task.holder == 0:
                after = state.with_task(index, protocol.reclaimed(task))
                label = f"the consumer's lease lapses: task {index + 1} is ready again"
                yield label, after.with_consumer(0, first._replace(life=life))


# ---- the search --------------------------------------------------------------------------------------------------


class Found(NamedTuple):
    """What a search came to."""

    states: int
    fault: str = ""
    trace: tuple[str, ...] = ()  # the shortest way to the fault
    kinds: tuple[str, ...] = ()  # of the transactions that took part
    quiet: tuple[State, ...] = ()  # where nothing can happen any more


_CameFrom = dict[State, tuple[State, str] | None]


def starts(count: int = 2, kinds: Iterable[Kind] = KINDS) -> list[State]:
    """Each choice of kinds; which transaction is called the first makes no difference."""
    return [State(tuple(map(protocol.begun, chosen))) for chosen in combinations_with_replacement(kinds, count)]


def search(rules: Rules, begin: Iterable[State]) -> Found:
    """Try everything, breadth first, up to the first fault."""
    actors = Actors(rules)
    came_from: _CameFrom = dict.fromkeys(begin)
    waiting, quiet = deque(came_from), []
    while waiting:
        state = waiting.popleft()
        is_quiet = True
        for label, after in actors.moves(state):
            is_quiet = is_quiet and after == state
            if after not in came_from:
                came_from[after] = (state, label)
                waiting.append(after)
        if is_quiet:
            quiet.append(state)
        fault = _fault_of(state, is_quiet)
        if fault:
            start, trace = _way_to(state, came_from)
            return Found(len(came_from), fault, trace, tuple(task.kind.name for task in start.tasks))
    return Found(len(came_from), quiet=tuple(quiet))


def _fault_of(state: State, is_quiet: bool) -> str:
    fault = next(filter(None, map(protocol.fault_of, state.tasks)), "")
    return fault or ("STUCK" if is_quiet and not all(map(protocol.is_settled, state.tasks)) else "")


def _way_to(state: State, came_from: _CameFrom) -> tuple[State, tuple[str, ...]]:
    labels: list[str] = []
    while (move := came_from[state]) is not None:
        state, label = move
        labels.append(label)
    return state, tuple(reversed(labels))


# ---- deaths ------------------------------------------------------------------------------------------------------


def ends_by_death(kind: Kind) -> Mapping[str, frozenset[str]]:
    """What can become of a task whose owner dies before a step, by step, while the queue's server forgets nothing."""
    actors, rules = Actors(Rules()), Rules()
    seen, waiting = set(starts(1, [kind])), deque(starts(1, [kind]))
    corpses: dict[str, set[State]] = {}
    while waiting:
        state = waiting.popleft()
        for label, after in actors.moves(state):
            if after.tasks[0].store == "wiped":
                continue
            if label == "owner 1 dies":
                corpses.setdefault(state.tasks[0].next_step, set()).add(after)
            if after not in seen:
                seen.add(after)
                waiting.append(after)
    return {
        step: frozenset(
            _end(quiet.tasks[0]) for quiet in search(rules, states).quiet if quiet.tasks[0].store != "wiped"
        )
        for step, states in corpses.items()
    }


def _end(task: Task) -> str:
    if task.store == "held":
        return "held"
    return "runs" if task.has_run else "never runs"
