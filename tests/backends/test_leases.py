import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskqueue.backends.leases import UNKNOWN_OWNER_LEASE, Sight, Watch, decode_row
from taskqueue.errors import BackendUnavailableError
from taskqueue.interfaces import Owner

LEASE = 60.0


def row(beats=1, seen_at=1000.0, retired=0, lease=LEASE):
    about = msgspec.json.encode(Owner(id="a", host="h", pid=1, started_at=5.0)).decode()
    return msgspec.msgpack.encode((beats, seen_at, lease, retired, about))


def sight(rows, holders=(), now=1000.0):
    return Sight(now=now, rows=rows, holders=frozenset(holders))


class Looker:
    """Looks every so many seconds, by a clock of its own."""

    def __init__(self):
        self.watch = Watch()
        self.now = 5.0

    def look(self, seen, after=5.0):
        self.now += after
        return self.watch.lapsed(seen, self.now)

    def looks_until_lapsed(self, seen, after=5.0):
        """How many seconds of looking it takes."""
        for looks in range(1000):
            if self.look(seen, after):
                return looks * after
        raise AssertionError("it never lapses")


def test_a_row_tells_who_the_owner_is():
    found = decode_row(row())
    assert (found.owner.host, found.owner.pid, found.seen_at, found.lease) == ("h", 1, 1000.0, LEASE)


def test_a_silent_owner_lapses_after_its_lease():
    assert Looker().looks_until_lapsed(sight({"a": row()}, {"a"})) == LEASE


def test_an_owner_that_beats_never_lapses():
    looker = Looker()
    assert not any(looker.look(sight({"a": row(beats=beats)}, {"a"})) for beats in range(100))


def test_one_beat_begins_the_lease_anew():
    looker = Looker()
    for _ in range(12):
        assert looker.look(sight({"a": row(beats=1)})) == []
    assert looker.looks_until_lapsed(sight({"a": row(beats=2)})) == LEASE


def test_silence_before_the_first_look_counts_a_quarter_at_most():
    assert Looker().looks_until_lapsed(sight({"a": row()}, now=1010.0)) == LEASE - 10
    assert Looker().looks_until_lapsed(sight({"a": row()}, now=9999.0)) == LEASE * 3 / 4


@given(st.floats(-1e9, 1e9))
def test_no_lease_lapses_because_the_servers_clock_jumps(jump):
    looker = Looker()
    looker.look(sight({"a": row()}, {"a"}))
    assert looker.look(sight({"a": row()}, {"a"}, now=1000.0 + jump)) == []
    assert Looker().look(sight({"a": row()}, {"a"}, now=1000.0 + jump)) == []


@given(st.floats(60.0, 1e6))
def test_no_lease_lapses_because_nobody_could_look(gap):
    looker = Looker()
    for _ in range(6):
        looker.look(sight({"a": row()}, {"a"}))
    assert looker.look(sight({"a": row()}, {"a"}), after=gap) == []


def beat(watch, error=None):
    with watch.beating():
        if error is not None:
            raise error


def test_no_lease_lapses_while_this_process_cannot_beat_either():
    looker, silent = Looker(), sight({"a": row()}, {"a"})
    for _ in range(6):
        looker.look(silent)
    with pytest.raises(BackendUnavailableError):
        beat(looker.watch, BackendUnavailableError("full"))
    assert not any(looker.look(silent) for _ in range(100))
    beat(looker.watch)
    assert looker.looks_until_lapsed(silent) == LEASE - 30


def test_who_looks_seldom_still_finds_the_dead():
    assert Looker().looks_until_lapsed(sight({"a": row(lease=1.0)}, {"a"}), after=5.0) == 20.0


def test_a_retired_owner_has_lapsed_as_long_as_it_holds_something():
    looker = Looker()
    assert looker.look(sight({"a": row(retired=1)}, {"a"})) == ["a"]
    assert looker.look(sight({"a": row(retired=1)}, {"a"})) == ["a"]
    assert looker.look(sight({"a": row(retired=1)})) == []


def test_an_owner_that_the_store_does_not_know_gets_a_lease_as_well():
    assert Looker().looks_until_lapsed(sight({}, {"lost"})) == UNKNOWN_OWNER_LEASE


def test_owners_are_judged_one_by_one():
    looker = Looker()
    found = [looker.look(sight({"a": row(beats=beats), "b": row(), "c": row(retired=1)}, {"c"})) for beats in range(20)]
    assert found[0] == ["c"]
    assert found[-1] == ["b", "c"]


def test_an_owner_that_is_gone_is_forgotten():
    looker = Looker()
    for _ in range(12):
        looker.look(sight({"a": row()}, {"a"}))
    looker.look(sight({}))
    assert looker.looks_until_lapsed(sight({"a": row()}, {"a"})) == LEASE


def test_a_row_that_is_none_is_an_error():
    with pytest.raises(msgspec.MsgspecError):
        Looker().look(sight({"a": b"rubbish"}))
