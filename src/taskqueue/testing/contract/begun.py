"""The contract of begin_exchange."""

import threading
import time

from ...interfaces import Settlement
from .making import CONSUMER, OTHER, OWNER, beat, claim_one, publish, record, state_of

PATIENCE_SECONDS = 30.0


class Begun:
    def test_an_exchange_that_was_begun_is_ended_later(self, queue):
        publish(queue, record(), record(), record())
        first = claim_one(queue)
        done = Settlement(id=first.id, claim_number=first.claim_number, state="done")
        begun = queue.begin_exchange(OWNER, CONSUMER, (done,), 2)
        beat(queue)  # other calls go on meanwhile
        answer = begun.end()
        assert (len(answer.claimed), answer.refused) == (2, ())
        assert {state_of(queue, each.id) for each in answer.claimed} == {"running"}
        assert state_of(queue, first.id) == "done"

    def test_an_answer_comes_by_itself(self, queue):
        publish(queue, record())
        begun = queue.begin_exchange(OWNER, CONSUMER, (), 1)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not begun.is_here():
            assert time.monotonic() < deadline
            queue.owners()
        assert len(begun.end().claimed) == 1

    def test_any_thread_may_end_what_another_has_begun(self, queue):
        publish(queue, record())
        begun = queue.begin_exchange(OWNER, CONSUMER, (), 1)
        ended = []
        thread = threading.Thread(target=lambda: ended.append(begun.end()))
        thread.start()
        thread.join(PATIENCE_SECONDS)
        assert [len(answer.claimed) for answer in ended] == [1]

    def test_exchanges_of_two_consumers_may_be_under_way_at_once(self, queue):
        beat(queue, OTHER)
        publish(queue, *(record() for _ in range(6)))
        begun = [queue.begin_exchange(owner_id, CONSUMER, (), 2) for owner_id in (OWNER, OTHER, OWNER)]
        claimed = [each.id for one in reversed(begun) for each in one.end().claimed]
        assert len(claimed) == len(set(claimed)) == 6

    def test_what_comes_too_late_is_refused_at_the_end(self, queue):
        publish(queue, record())
        claimed = claim_one(queue)
        late = Settlement(id=claimed.id, claim_number=claimed.claim_number - 1, state="done")
        begun = queue.begin_exchange(OWNER, CONSUMER, (late,), 0)
        assert begun.end().refused == (claimed.id,)
        assert state_of(queue, claimed.id) == "running"
