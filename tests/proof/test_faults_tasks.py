"""Tasks that are hard on the process that runs them: long ones under a busy interpreter, and those that kill it."""

import pytest

from .faults import DEADLINE, KINDS, LONG, Effects, Site, open_queue, store, wait_until

# Shortened. A renewal needs the interpreter's lock several times, so with more calls in C the lease has to be longer.
LEASE, RENEW = (12.0, 1.0) if LONG else (2.0, 0.25)
LEASES = 3 if LONG else 2  # so many pass while a long task runs
GOOD = 1000 if LONG else 50
DEATHS = 3  # of a suspect; the death that makes it one is not among them
SHORT_LEASE, SHORT_RENEW = (2.0, 0.25) if LONG else (0.5, 0.1)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", KINDS if LONG else KINDS[2:])
def test_a_long_task_under_a_busy_interpreter_is_not_taken_from_a_process_that_lives(kind, tmp_path, say):
    """Pure Python in two threads, and calls in C that hold the interpreter's lock for long in another."""
    ways = ["python", "python", "long-re", "sort"] if LONG else ["python", "python", "re"]
    lease = {"lease": LEASE, "renew": RENEW}
    with store(kind, tmp_path) as queue, open_queue(queue) as seen:
        server = {"concurrent_limit": len(ways)}
        with Site(tmp_path, queue, server=server, **lease) as busy, Site(tmp_path, queue, **lease) as rival:
            effects = Effects(tmp_path)
            busy.consume()
            ids = [rival.add(f"/busy/{number}/{LEASES * LEASE}/{way}") for number, way in enumerate(ways)]
            for number in range(len(ways)):
                effects.wait_for(str(number), "began")
            rival.consume()  # it would take over what it could
            for number in range(len(ways)):
                effects.wait_for(str(number), seconds=LEASES * LEASE + DEADLINE)
            wait_until(lambda: seen.counts().states["done"] == len(ways), lambda: busy.log + rival.log)
            records = [seen.get(each) for each in ids]
            seconds = [effects.of(str(number))[0] - effects.of(str(number), "began")[0] for number in range(len(ways))]
            began = [line for line in effects.read() if line[0] == "began"]
        assert "taken back" not in rival.log + busy.log
    say(
        f"{kind}: {len(ways)} tasks of {min(seconds):.1f} s and more, busy with {', '.join(ways)}: "
        f"{len(began) - len(ways)} run again, lease {LEASE:g} s"
    )
    assert min(seconds) >= LEASES * LEASE
    assert [(each.claim_number, each.deaths, each.attempts) for each in records] == [(1, 0, 1)] * len(ways)
    assert sorted(line[1] for line in began) == [str(number) for number in range(len(ways))]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", KINDS)
def test_a_task_that_kills_its_consumer_dies_and_takes_no_other_along(kind, tmp_path, say):
    with store(kind, tmp_path) as queue, open_queue(queue) as seen:
        job = {"server": {"concurrent_limit": 4, "max_deaths": DEATHS}, "lease": SHORT_LEASE, "renew": SHORT_RENEW}
        effects = Effects(tmp_path)
        with Site(tmp_path, queue, **job) as adding:
            good = adding.add_some("/effect/a{}", GOOD // 2)
            [poison] = adding.add_some("/kill/poison", 1)
            good += adding.add_some("/effect/b{}", GOOD - GOOD // 2)
            adding.end()
        killed = 0

        def is_over():
            return seen.counts().states["done"] == GOOD and seen.get(poison).state == "dead"

        while not is_over():
            assert killed <= DEATHS + 1, "it kills more than it may"
            with Site(tmp_path, queue, **job) as consumer:
                consumer.order(do="consume")
                wait_until(lambda: consumer.is_dead() or is_over())  # called at once
                killed += consumer.is_dead()
        records = [seen.get(each) for each in good]
        runs = [line[1] for line in effects.read() if line[0] == "done"]
    say(
        f"{kind}: dead after it killed {killed} consumers; {len(records)} others done, {len(runs) - GOOD} of them run "
        f"again, {sum(each.deaths for each in records)} deaths counted against them"
    )
    assert killed == len(effects.of("poison", "killed")) == DEATHS + 1
    assert {each.state for each in records} == {"done"}
    assert [each.deaths for each in records] == [0] * GOOD
    assert set(runs) == {f"a{number}" for number in range(GOOD // 2)} | {f"b{n}" for n in range(GOOD - GOOD // 2)}
