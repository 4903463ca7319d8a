"""What is in doubt: what follows from the answers, and what becomes of the tasks."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from taskqueue import doubts, failpoints, notices, witnesses
from taskqueue.backends.local import LocalQueue
from taskqueue.doubts import Decision, Doubts, decide
from taskqueue.errors import BackendUnavailableError
from taskqueue.interfaces import Record, Testimony, WitnessMark
from taskqueue.notices import Event, Notice
from taskqueue.queues import Queue
from taskqueue.record import Envelope, encode_part, new_id

from .witnesses.fakes import FakeWitness

ANSWERS: tuple[Testimony | None, ...] = ("yes", "no", "not yet", "unknown", None)
CHOICES = ("hold", "publish", "discard")
STRANGER = "some.package.DataManager"
SESSION = "zope.sqlalchemy.datamanager.SessionDataManager"


def envelope(transaction_id: str = "t", databases: Sequence[str] = ("main",), strangers: Any = ()) -> Envelope:
    marks = tuple(WitnessMark(kind="fake", database=each) for each in databases)
    return Envelope(transaction_id=transaction_id, owner="o", witnesses=marks, strangers=strangers)


# ---- the decision ------------------------------------------------------------------------------------------------


def expected(answers: Sequence[Testimony | None], strangers: Sequence[str], in_doubt: str) -> tuple[str | None, bool]:
    """The table, told another way: one yes is yes; who may yet answer is waited for; then what nobody can know."""
    if "yes" in answers:
        return "publish", "no" in answers
    if None in answers or "not yet" in answers:
        return None, False
    if strangers or "unknown" in answers:
        return in_doubt, False
    return "discard", False


@pytest.mark.parametrize("in_doubt", CHOICES)
@pytest.mark.parametrize("strangers", [(), (STRANGER,)])
@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_every_combination_of_answers_has_its_decision(count: int, strangers: tuple[str, ...], in_doubt: str) -> None:
    given = envelope(databases=[f"db{number}" for number in range(count)], strangers=strangers)
    for answers in itertools.product(ANSWERS, repeat=count):
        decision = decide(given, answers, in_doubt)
        assert (decision.verdict, decision.is_torn) == expected(answers, strangers, in_doubt), answers
        assert decision.reason.isprintable()
        assert decision.reason


@pytest.mark.parametrize("in_doubt", CHOICES)
@pytest.mark.parametrize("given", [None, envelope(strangers=None), envelope(databases=(), strangers=None)])
def test_where_nobody_looked_who_took_part_the_queue_decides(given: Envelope | None, in_doubt: str) -> None:
    answers: list[Testimony | None] = ["no"] * (len(given.witnesses) if given is not None else 0)
    decision = decide(given, answers, in_doubt)
    assert decision.verdict == in_doubt
    assert decision.reason.startswith("nothing is known of its transaction")


def test_an_answer_in_other_words_is_one_that_nobody_understands() -> None:
    assert decide(envelope(), ["No"], "hold").verdict == "hold"  # type: ignore[list-item]  # of another's witness


@pytest.mark.parametrize(
    ("answers", "strangers", "words"),
    [
        (("yes", "yes"), (), "its transaction committed in fake a, fake b"),
        (("yes", "no"), (), "its transaction committed in fake a, and not in fake b: it is torn"),
        (("no", "no"), (), "its transaction did not commit in fake a, fake b"),
        (("no", "not yet"), (), "it may still commit in fake b; asked again"),
        (("no", None), (), "nobody in this process can ask fake b; see taskqueue.register_witness"),
        (("no", "unknown"), (), "the history of fake b does not tell any more"),
        (("no", "no"), (STRANGER,), f"a part of its transaction cannot be asked: {STRANGER}"),
        (
            ("no", "no"),
            (SESSION,),
            f"a part of its transaction cannot be asked: {SESSION}, which taskqueue.register_witness(session_factory)",
        ),
    ],
)
def test_the_reason_names_who_said_what(answers: Any, strangers: tuple[str, ...], words: str) -> None:
    assert decide(envelope(databases=("a", "b"), strangers=strangers), answers, "hold").reason.startswith(words)


def test_only_who_reads_the_log_is_sent_to_the_command_that_decides() -> None:
    assert "taskqueue resolve" not in decide(envelope(strangers=(STRANGER,)), ["no"], "hold").reason


def test_where_nothing_durable_took_part_it_is_as_if_it_had_aborted() -> None:
    decision = decide(envelope(databases=()), [], "publish")
    assert decision == Decision("discard", "its transaction never finished, and nothing durable was in it")


@pytest.mark.parametrize("choice", ["publish", "discard"])
def test_the_reason_names_the_option_that_decided(choice: str) -> None:
    assert decide(envelope(), ["unknown"], choice).reason.endswith(f"; in_doubt = {choice} decides")


# ---- what becomes of the tasks -----------------------------------------------------------------------------------


class Watched(LocalQueue):
    """A queue in memory that counts its pages, and wakes."""

    def __init__(self) -> None:
        super().__init__(name="mail")
        self.pages: list[tuple[int, str]] = []
        self.settled: list[tuple[tuple[str, ...], str]] = []
        self.errors: dict[str, Exception] = {}
        self.wakes = 0

    def staged(self, limit: int = 100, after: str = "") -> Sequence[Record]:
        self.pages.append((limit, after))
        if "staged" in self.errors:
            raise self.errors["staged"]
        return super().staged(limit, after)

    def settle(self, ids: Any, verdict: Any, timeout: float | None = None) -> int:
        self.settled.append((tuple(ids), verdict))
        if "settle" in self.errors:
            raise self.errors["settle"]
        return super().settle(ids, verdict, timeout)

    def wake(self) -> None:
        self.wakes += 1
        super().wake()


class World:
    """A queue with held tasks, witnesses, and all that is told."""

    def __init__(self, in_doubt: str = "hold") -> None:
        self.backend = Watched()
        self.doubts = Doubts(Queue("mail", self.backend, in_doubt=in_doubt))
        self.told: list[Notice] = []

    def hold(self, given: Envelope | bytes, count: int = 1, state: str = "held") -> list[str]:
        records = [Record(id=new_id(), body=b"body") for _ in range(count)]
        ids = [record.id for record in records]
        self.backend.stage(records, given if isinstance(given, bytes) else encode_part(given), "o", 1.0)
        if state == "held":
            LocalQueue.settle(self.backend, ids, "hold")
        return ids

    def states(self, ids: Sequence[str]) -> set[str | None]:
        return {None if (found := self.backend.get(each)) is None else found.state for each in ids}

    def of(self, event: Event) -> list[Notice]:
        return [notice for notice in self.told if notice.event is event]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()
    monkeypatch.setattr(notices, "_listeners", [made.told.append])
    return made


@pytest.fixture
def witness(monkeypatch: pytest.MonkeyPatch) -> FakeWitness:
    made = FakeWitness()
    monkeypatch.setattr(witnesses, "_witnesses", [made])
    return made


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Lets seconds pass."""
    now = [1000.0]
    monkeypatch.setattr(doubts.time, "monotonic", lambda: now[0])

    def pass_by(seconds: float) -> None:
        now[0] += seconds

    return pass_by


@pytest.mark.parametrize(
    ("answer", "state", "event", "asks_again"),
    [
        ("yes", "ready", Event.SETTLED, False),
        ("no", None, Event.SETTLED, False),
        ("not yet", "held", None, True),
        ("unknown", "held", Event.HELD, False),
    ],
)
def test_the_answer_decides_and_is_told(
    world: World, witness: FakeWitness, answer: Testimony, state: str | None, event: Event | None, asks_again: bool
) -> None:
    witness.answer = answer
    ids = world.hold(envelope(), 2)
    assert world.doubts.settle(()) is asks_again
    assert world.states(ids) == {state}
    assert [(notice.event, notice.queue, notice.task_ids) for notice in world.told] == (
        [(event, "mail", tuple(ids))] if event is not None else []
    )
    assert bool(world.backend.wakes) == (state != "held")


def test_nothing_is_asked_where_nothing_is_held(world: World, witness: FakeWitness) -> None:
    assert world.doubts.settle(()) is False
    assert witness.asked == []
    assert world.told == []


def test_what_is_staged_and_not_held_is_its_owners(world: World, witness: FakeWitness) -> None:
    ids = world.hold(envelope(), state="staged")
    assert world.doubts.settle(()) is False
    assert world.states(ids) == {"staged"}
    assert witness.asked == []


def test_nobody_is_asked_of_what_is_in_flight_and_it_is_looked_at_again(world: World, witness: FakeWitness) -> None:
    witness.answer = "no"
    mine, others = world.hold(envelope("mine")), world.hold(envelope("others"))
    assert world.doubts.settle({"mine"}) is True
    assert (world.states(mine), world.states(others)) == ({"held"}, {None})
    assert witness.asked == [("others",)]
    assert world.doubts.settle(()) is False
    assert world.states(mine) == {None}


def test_what_has_still_to_be_published_is_let_be(world: World, witness: FakeWitness) -> None:
    witness.answer = "no"
    ids = world.hold(envelope(), 2)
    world.doubts.settle((), unpublished=ids[:1])
    assert (world.states(ids[:1]), world.states(ids[1:])) == ({"held"}, {None})


def test_an_error_of_a_witness_decides_nothing_and_is_told_once(world: World, witness: FakeWitness) -> None:
    witness.error = OSError("a secret")
    ids = world.hold(envelope("a")) + world.hold(envelope("b"))
    for _ in range(3):
        assert world.doubts.settle(()) is True
    assert world.states(ids) == {"held"}
    assert [notice.detail for notice in world.told] == [
        "the fake witness could not be asked: OSError; it is asked again"
    ]
    witness.error, witness.answer = None, "yes"
    world.doubts.settle(())
    assert world.states(ids) == {"ready"}
    witness.error = OSError("again")
    world.hold(envelope("c"))
    world.doubts.settle(())
    assert len(world.of(Event.WARNING)) == 2


def test_an_error_that_is_met_on_every_page_is_told_once(
    world: World, witness: FakeWitness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doubts, "PAGE", 2)
    witness.error = ConnectionError("a secret")
    for number in range(5):
        world.hold(envelope(f"t{number}"))
    for _ in range(2):
        world.doubts.settle(())
    assert [notice.detail for notice in world.told] == ["a fake witness does not know its database: ConnectionError"]


def test_what_nobody_here_can_answer_waits_for_a_process_that_can(
    world: World, clock: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(witnesses, "_witnesses", [])
    ids = world.hold(envelope())
    assert world.doubts.settle(()) is True
    assert world.told == []
    clock(doubts.PATIENCE_SECONDS)
    for _ in range(3):
        assert world.doubts.settle(()) is True
    assert [(notice.event, notice.task_ids) for notice in world.told] == [(Event.HELD, tuple(ids))]
    assert "register_witness" in world.told[0].detail
    assert world.states(ids) == {"held"}


def test_what_is_held_for_good_is_told_at_once_and_only_once(world: World, witness: FakeWitness) -> None:
    first = world.hold(envelope("a", strangers=(STRANGER,)))
    for _ in range(3):
        assert world.doubts.settle(()) is False
    second = world.hold(envelope("b", strangers=(STRANGER,)))
    world.doubts.settle(())
    told = world.of(Event.HELD)
    assert [notice.task_ids for notice in told] == [tuple(first), tuple(second)]
    assert all(notice.detail.endswith("; see taskqueue resolve") for notice in told)


def test_what_is_not_held_any_more_is_not_remembered(world: World, witness: FakeWitness) -> None:
    world.hold(envelope())
    world.doubts.settle(())
    assert world.doubts._told
    assert world.doubts._seen_at
    witness.answer = "yes"
    for _ in range(2):
        world.doubts.settle(())
    assert not world.doubts._told
    assert not world.doubts._seen_at


def test_two_witnesses_that_agree_are_one_notice(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    both = [FakeWitness("a", answer="yes"), FakeWitness("b", answer="yes")]
    monkeypatch.setattr(witnesses, "_witnesses", both)
    ids = world.hold(envelope(databases=("a", "b")))
    world.doubts.settle(())
    assert world.states(ids) == {"ready"}
    assert [notice.event for notice in world.told] == [Event.SETTLED]


def test_a_torn_transaction_is_published_and_told_as_such(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    both = [FakeWitness("a", answer="no"), FakeWitness("b", answer="yes")]
    monkeypatch.setattr(witnesses, "_witnesses", both)
    ids = world.hold(envelope(databases=("a", "b")), 2)
    world.doubts.settle(())
    assert world.states(ids) == {"ready"}
    ((event, task_ids, detail),) = [(notice.event, notice.task_ids, notice.detail) for notice in world.told]
    assert (event, task_ids) == (Event.TORN, tuple(ids))
    assert detail.startswith("published: its transaction committed in fake b, and not in fake a")


def test_that_a_transaction_is_torn_is_told_before_it_is_settled(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    both = [FakeWitness("a", answer="no"), FakeWitness("b", answer="yes")]
    monkeypatch.setattr(witnesses, "_witnesses", both)
    ids = world.hold(envelope(databases=("a", "b")))
    told_when_settled = []
    with failpoints.armed("doubt.settled", lambda: told_when_settled.extend(notice.event for notice in world.told)):
        world.doubts.settle(())
    assert told_when_settled == [Event.TORN]
    assert world.states(ids) == {"ready"}


@pytest.mark.parametrize(("in_doubt", "state"), [("hold", "held"), ("publish", "ready"), ("discard", None)])
@pytest.mark.parametrize("given", [envelope(strangers=None), b"", b"not an envelope"])
def test_an_envelope_of_before_or_one_that_cannot_be_read_goes_by_the_option(
    world: World, witness: FakeWitness, given: Any, in_doubt: str, state: str | None
) -> None:
    witness.answer = "no"
    world.doubts = Doubts(Queue("mail", world.backend, in_doubt=in_doubt))
    ids = world.hold(given)
    world.doubts.settle(())
    assert world.states(ids) == {state}


def test_tasks_of_one_transaction_that_differ_in_what_took_part_are_decided_apart(
    world: World, witness: FakeWitness
) -> None:
    witness.answer = "no"
    early, late = world.hold(envelope()), world.hold(envelope(strangers=(STRANGER,)))
    world.doubts.settle(())
    assert (world.states(early), world.states(late)) == ({None}, {"held"})
    assert witness.asked == [("t",)]


def test_pages_are_turned_until_there_are_no_more(
    world: World, witness: FakeWitness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doubts, "PAGE", 2)
    witness.answer = "yes"
    witness.answers = {"t3": "unknown"}
    ids = [task_id for number in range(7) for task_id in world.hold(envelope(f"t{number}"))]
    world.doubts.settle(())
    assert world.states(ids[3:4]) == {"held"}
    assert world.states(ids[:3] + ids[4:]) == {"ready"}
    assert [after for _, after in world.backend.pages] == ["", ids[1], ids[3], ids[5]]
    assert [limit for limit, _ in world.backend.pages] == [2] * 4
    assert [len(keys) for keys in witness.asked] == [2, 2, 2, 1]


def test_a_look_that_takes_long_is_cut_short_and_goes_on_from_there(
    world: World, witness: FakeWitness, clock: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doubts, "PAGE", 2)
    slow = witness.testify
    monkeypatch.setattr(witness, "testify", lambda marks, timeout: clock(timeout) or slow(marks, timeout))
    ids = [task_id for number in range(5) for task_id in world.hold(envelope(f"t{number}"))]
    assert [world.doubts.settle(()) for _ in range(3)] == [True, True, False]
    assert witness.asked == [("t0", "t1"), ("t2", "t3"), ("t4",)]
    assert [task_id for notice in world.of(Event.HELD) for task_id in notice.task_ids] == ids
    for _ in range(3):
        world.doubts.settle(())
    assert len(witness.asked) == 6
    assert len(world.of(Event.HELD)) == 5


@pytest.mark.parametrize("verb", ["staged", "settle"])
def test_what_the_backend_raises_comes_out_and_the_next_look_decides(
    world: World, witness: FakeWitness, verb: str
) -> None:
    witness.answer = "yes"
    ids = world.hold(envelope())
    world.backend.errors[verb] = BackendUnavailableError("down")
    with pytest.raises(BackendUnavailableError):
        world.doubts.settle(())
    assert world.told == []
    world.backend.errors.clear()
    world.doubts.settle(())
    assert world.states(ids) == {"ready"}


def test_what_another_process_has_decided_meanwhile_is_not_told_again(
    world: World, witness: FakeWitness, monkeypatch: pytest.MonkeyPatch
) -> None:
    witness.answer = "yes"
    ids = world.hold(envelope())
    answering = witness.testify

    def decide_elsewhere(marks: Any, timeout: float) -> Any:
        LocalQueue.settle(world.backend, ids, "publish")
        return answering(marks, timeout)

    monkeypatch.setattr(witness, "testify", decide_elsewhere)
    world.doubts.settle(())
    assert world.states(ids) == {"ready"}
    assert world.told == []
