"""What must hold for each call of a backend on a server, behind a network that loses, resets, stalls, slows, forgets.

A module takes the class ``FaultyNetwork``, and has the fixtures ``proxy``, ``queue``, which is seen through the proxy,
and ``direct``, the same queue past it. TASKQUEUE_FAULTS says how often each call is to fail.
"""

import os
import random
import threading
import time

import pytest

from taskqueue.errors import BackendUnavailableError
from taskqueue.interfaces import Settlement

from .making import CONSUMER, OTHER, OWNER, beat, claim, claim_one, hand_in, owner, publish, record, stage, state_of

FAULTS = int(os.environ.get("TASKQUEUE_FAULTS", "15"))
ADD_SECONDS = 2.0  # no request that adds waits longer
DEADLINE = 20.0


def attempt(act):
    """Do it; tell whether the backend did it, and answered."""
    try:
        act()
    except BackendUnavailableError:
        return False
    return True


# ---- each call -----------------------------------------------------------------------------------------------------
#
# Each function makes what a call needs, past the proxy; it returns the call, and what must hold when the reply was lost
# after the server had done it, and when the server never got the command.


def case_stage(direct):
    given = record()
    return lambda queue: stage(queue, given), ["staged"], ["staged"], given.id


def case_publish(direct):
    given = record()
    stage(direct, given)
    return lambda queue: publish(queue, given), ["ready"], ["ready"], given.id


def case_publish_new(direct):
    given = record()
    return lambda queue: publish(queue, given), ["ready"], ["ready"], given.id


def case_discard(direct):
    task_id = stage(direct, record())
    return lambda queue: queue.discard([task_id], 5.0), [None], [None], task_id


def case_settle(direct):
    task_id = stage(direct, record())
    return lambda queue: queue.settle([task_id], "publish"), ["ready"], ["staged"], task_id


def case_claim(direct):
    task_id = publish(direct, record())
    return claim, ["running"], ["ready"], task_id


def case_hand_in(direct):
    publish(direct, record())
    claimed = claim_one(direct)
    return lambda queue: hand_in(queue, claimed, "done"), ["done"], ["running"], claimed.id


def case_release(direct):
    publish(direct, record())
    task_id = claim_one(direct).id
    return lambda queue: queue.release(OWNER, CONSUMER, ()), ["ready"], ["running"], task_id


def case_reclaim(direct):
    beat(direct, OTHER)
    task_id = stage(direct, record(), owner_id=OTHER)
    direct.retire(OTHER)
    return lambda queue: queue.reclaim(3), ["staged", "held"], ["staged", "held"], task_id


def case_requeue(direct):
    publish(direct, record())
    task_id = claim_one(direct).id
    hand_in(direct, direct.get(task_id), "dead")
    return lambda queue: queue.requeue([task_id]), ["ready"], ["dead"], task_id


def case_delete(direct):
    task_id = publish(direct, record())
    return lambda queue: queue.delete([task_id]), [None], ["ready"], task_id


def case_purge(direct):
    task_id = publish(direct, record())
    return lambda queue: queue.purge(["ready"]), [None], ["ready"], task_id


def case_prune(direct):
    publish(direct, record())
    task_id = claim_one(direct).id
    hand_in(direct, direct.get(task_id), "done")
    return lambda queue: queue.prune(0, 0, None, 0), [None], ["done"], task_id


def case_promote(direct):
    task_id = publish(direct, record())
    hand_in(direct, claim_one(direct), "scheduled")
    return lambda queue: queue.promote(), ["ready"], ["ready"], task_id


def case_beat(direct):
    task_id = publish(direct, record())
    return beat, ["ready"], ["ready"], task_id


def case_pause(direct):
    task_id = publish(direct, record())

    def pause(queue):
        queue.pause()
        assert direct.counts().paused
        direct.resume()

    return pause, ["ready"], ["ready"], task_id


CASES = {name.removeprefix("case_"): case for name, case in list(globals().items()) if name.startswith("case_")}


class FaultyNetwork:
    """Tests of one backend; none of them is about that backend alone."""

    @pytest.mark.parametrize("fault", ["lose_next_reply", "reset_next_command"])
    @pytest.mark.parametrize("verb", CASES)
    def test_no_task_is_lost_or_ready_twice_when_a_call_fails(self, queue, direct, proxy, verb, fault):
        act, *_ = CASES[verb](direct)
        act(queue)  # so that the script is known
        direct.purge(["ready", "done", "dead"])
        direct.settle([each.id for each in direct.staged()], "discard")
        direct.release(OWNER, CONSUMER, ())
        direct.purge(["ready"])
        happened = proxy.done
        for _ in range(FAULTS):
            act, after_lost_reply, after_reset, task_id = CASES[verb](direct)
            getattr(proxy, fault)()
            begun = time.monotonic()
            attempt(lambda: act(queue))  # noqa: B023  # called at once
            assert time.monotonic() - begun < ADD_SECONDS
            proxy.mend()
            expected = after_lost_reply if fault == "lose_next_reply" else after_reset
            assert state_of(direct, task_id) in expected
            assert sum(direct.counts().states.values()) == (state_of(direct, task_id) is not None)
            attempt(lambda: act(queue))  # noqa: B023  # the same again does no harm
            direct.settle([task_id], "publish")
            direct.release(OWNER, CONSUMER, ())
            assert len(claim(direct, 5)) <= 1
            direct.release(OWNER, CONSUMER, ())
            direct.delete([task_id])
            assert sum(direct.counts().states.values()) == 0
        assert proxy.done - happened == FAULTS, "not every fault happened"

    def test_a_claim_whose_reply_was_lost_is_given_back(self, queue, direct, proxy):
        claim(queue)
        for _ in range(FAULTS):
            ids = {record().id for _ in range(5)}
            publish(direct, *(record(id=each) for each in ids))
            held = claim_one(queue)
            proxy.lose_next_reply()
            assert not attempt(lambda: claim(queue, 2))
            assert direct.counts().states["running"] == 3
            assert queue.release(OWNER, CONSUMER, [held.id]) == 2
            done = Settlement(id=held.id, claim_number=held.claim_number, state="done")
            claimed = queue.exchange(OWNER, CONSUMER, (done,), 10).claimed
            assert {each.id for each in claimed} == ids - {held.id}
            direct.release(OWNER, CONSUMER, ())
            assert direct.purge(["ready", "done"]) == 5

    def test_an_outcome_whose_reply_was_lost_counts_once(self, queue, direct, proxy):
        publish(direct, record())
        for attempts in range(1, FAULTS + 1):
            claimed = claim_one(queue)
            proxy.lose_next_reply()
            assert not attempt(lambda: hand_in(queue, claimed, "ready", attempts=1))  # noqa: B023  # called at once
            assert hand_in(queue, claimed, "ready", attempts=1).refused == (claimed.id,)
            assert direct.get(claimed.id).attempts == attempts

    # ---- slow, silent, away ----

    def test_a_stalled_network_is_waited_for_no_longer_than_allowed(self, queue, direct, proxy):
        given = record()
        proxy.stall()
        begun = time.monotonic()
        assert not attempt(lambda: queue.stage([given], b"", OWNER, 0.3))
        assert not attempt(lambda: queue.beat(owner(), 60.0, 0.3))
        assert time.monotonic() - begun < ADD_SECONDS
        proxy.mend()
        publish(queue, given)
        assert [each.id for each in claim(queue, 5)] == [given.id]

    def test_a_slow_network_is_waited_for_no_longer_than_allowed(self, queue, direct, proxy):
        large, small = record(body=bytes(8192), secrets=bytes(8192)), record()
        proxy.throttle(1000)
        begun = time.monotonic()
        assert not attempt(lambda: queue.stage([large, large], b"", OWNER, 0.4))
        assert time.monotonic() - begun < ADD_SECONDS
        assert direct.get(large.id) is None
        proxy.throttle(100_000)
        publish(queue, small)
        assert state_of(direct, small.id) == "ready"

    def test_a_door_that_is_shut_is_told_at_once(self, queue, proxy):
        proxy.refuse()
        begun = time.monotonic()
        for _ in range(20):
            assert not attempt(lambda: stage(queue, record()))
        assert time.monotonic() - begun < ADD_SECONDS
        proxy.open_again()
        stage(queue, record())

    def test_a_connection_that_was_dropped_silently_costs_one_call(self, queue, proxy):
        beat(queue)
        proxy.swallow()
        begun = time.monotonic()
        assert not attempt(lambda: queue.beat(owner(), 60.0, 0.3))
        assert time.monotonic() - begun < ADD_SECONDS
        assert attempt(lambda: queue.beat(owner(), 60.0, DEADLINE))  # it has to connect, which takes what it takes

    # ---- whose reply is it? ----

    def test_no_reply_ever_answers_another_call(self, queue, direct, proxy):
        ids = [record().id for _ in range(40)]
        publish(direct, *(record(id=each, body=each.encode()) for each in ids))
        wrong, answered = [], []
        stopped = threading.Event()

        def ask(seed):
            chance = random.Random(seed)
            while not stopped.is_set():
                wanted = chance.choice(ids)
                try:
                    if chance.random() < 0.5:
                        found = queue.get(wanted)
                        if found is None or found.body != wanted.encode():
                            wrong.append((wanted, found))
                    elif queue.discard([wanted], 0.05) is not None or len(queue) != len(ids):
                        wrong.append((wanted, "length"))
                    answered.append(wanted)
                except BackendUnavailableError:
                    pass

        threads = [threading.Thread(target=ask, args=(seed,), daemon=True) for seed in range(4)]
        for thread in threads:
            thread.start()
        chance = random.Random(1)
        deadline, faults = time.monotonic() + DEADLINE + FAULTS, 0
        while faults < 2 * FAULTS or len(answered) <= 50:
            assert time.monotonic() < deadline, "hardly anybody is answered"
            faults += 1
            getattr(proxy, chance.choice(["lose_next_reply", "reset_next_command", "stall", "drop_all"]))()
            stopped.wait(0.005)
            proxy.mend()
        stopped.set()
        for thread in threads:
            thread.join(DEADLINE)
        assert wrong == []
