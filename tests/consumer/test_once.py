"""A task that ends in its own transaction: a real SQLite database of the application, and a real queue beside it."""

from __future__ import annotations

import threading
from typing import Any

import msgspec
import pytest
import sqlalchemy
import transaction
import zope.sqlalchemy
from sqlalchemy.orm import Session, sessionmaker

from taskqueue import witnesses
from taskqueue.backends.local import LocalQueue
from taskqueue.consumer.attempt import Claim, Finished, attempt
from taskqueue.consumer.once import ClaimLostError
from taskqueue.interfaces import Record
from taskqueue.notices import Event
from taskqueue.queues import Queue
from taskqueue.record import Keyring, Outcome, encode
from taskqueue.settings import ServerSettings
from taskqueue.transactions import TransactionMiddleware

from .fakes import PATIENCE, Site, make_task

ONCE = ServerSettings(name="worker", acknowledge="with-transaction")


class Shop:
    """An application whose view writes a line into a SQL database; ``before_commit`` is called when it has."""

    def __init__(self, path: Any) -> None:
        self.engine = sqlalchemy.create_engine(f"sqlite:///{path}", connect_args={"timeout": 0.2})
        self.factory = sessionmaker(self.engine)
        with self.engine.begin() as connection:
            connection.execute(sqlalchemy.text("CREATE TABLE line (text TEXT)"))
        self.status = "200 OK"
        self.writes = True
        self.before_commit = lambda: None
        self.application = TransactionMiddleware(self._serve)

    def _serve(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        session: Session = self.factory()
        zope.sqlalchemy.register(session, transaction_manager=environ["tm.manager"])
        session.execute(sqlalchemy.text("SELECT 1"))
        if self.writes:
            session.execute(sqlalchemy.text("INSERT INTO line VALUES (:path)"), {"path": environ["PATH_INFO"]})
            zope.sqlalchemy.mark_changed(session, environ["tm.manager"])
        self.before_commit()
        start_response(self.status, [("X-Sold", "1"), ("Set-Cookie", "session=secret")])
        return [b"sold"]

    def lines(self) -> int:
        with self.engine.connect() as connection:
            return connection.scalar(sqlalchemy.text("SELECT count(*) FROM line"))


@pytest.fixture
def shop(tmp_path):
    shop = Shop(tmp_path / "shop.db")
    witness = witnesses.register(shop.factory)
    yield shop
    witnesses.unregister(witness)
    shop.engine.dispose()


@pytest.fixture
def queue():
    return Queue(name="default", backend=LocalQueue(name="default"))


def claimed(**fields: Any) -> list[Record]:
    """One record as it is claimed for the first time, the second time, and so on."""
    record = encode(make_task("/sell"), Keyring())
    changes = {"state": "running", "first_claimed_at": 1_700_000_000.0, **fields}
    return [type(record)(**{**_fields(record), **changes, "claim_number": number}) for number in (1, 2, 3)]


def _fields(record: Record) -> dict[str, Any]:
    return {name: getattr(record, name) for name in record.__struct_fields__}


def run(record: Record, shop: Shop, queue: Queue, settings: ServerSettings = ONCE) -> Finished:
    return attempt(Claim(record), shop.application, queue, settings)


def outcome_of(finished: Finished) -> Outcome:
    assert finished.settlement.outcome is not None
    return msgspec.msgpack.decode(finished.settlement.outcome, type=Outcome)


def test_a_task_whose_earlier_run_committed_is_done_and_does_not_run_again(shop, queue):
    first, second, third = claimed()
    assert run(first, shop, queue).settlement.state == "done"
    for again in (second, third):
        finished = run(again, shop, queue)
        assert finished.settlement.state == "done"
        assert finished.settlement.claim_number == again.claim_number
        assert "an earlier run had committed" in outcome_of(finished).reason
    assert shop.lines() == 1


def test_without_the_option_it_runs_again(shop, queue):
    first, second, _ = claimed()
    run(first, shop, queue, ServerSettings(name="worker"))
    run(second, shop, queue, ServerSettings(name="worker"))
    assert shop.lines() == 2


def test_a_run_that_aborted_is_run_again(shop, queue):
    first, second, _ = claimed()
    shop.status = "500 Internal Server Error"
    assert run(first, shop, queue).settlement.state == "scheduled"
    shop.status = "200 OK"
    assert run(second, shop, queue).settlement.state == "done"
    assert shop.lines() == 1


def test_a_run_that_only_reads_leaves_no_mark(shop, queue):
    shop.writes = False
    first, second, _ = claimed()
    run(first, shop, queue)
    assert run(second, shop, queue).settlement.state == "done"


def test_while_an_earlier_run_may_still_commit_the_task_waits_and_spends_nothing(shop, queue):
    first, second, third = claimed()
    inside, go_on = threading.Event(), threading.Event()

    def stand_still() -> None:
        inside.set()
        assert go_on.wait(PATIENCE), "nobody let it go on"

    shop.before_commit = stand_still
    ended: list[Finished] = []
    slow = threading.Thread(target=lambda: ended.append(run(first, shop, queue)))
    slow.start()
    assert inside.wait(PATIENCE), "the first run never began"
    waiting = run(second, shop, queue).settlement
    assert (waiting.state, waiting.attempts, waiting.started) == ("scheduled", 0, False)
    assert waiting.delay > 0
    go_on.set()
    slow.join(PATIENCE)
    assert ended[0].settlement.state == "done"
    shop.before_commit = lambda: None
    assert "an earlier run had committed" in outcome_of(run(third, shop, queue)).reason
    assert shop.lines() == 1


def test_a_run_that_was_given_up_can_never_commit(shop, queue):
    first, second, _ = claimed()
    taken_over: list[Finished] = []

    def stand_still_before_the_first_write(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        shop.application = TransactionMiddleware(shop._serve)
        taken_over.append(run(second, shop, queue))
        return shop._serve(environ, start_response)

    shop.application = TransactionMiddleware(stand_still_before_the_first_write)
    finished = run(first, shop, queue)
    assert taken_over[0].settlement.state == "done"
    assert finished.settlement.state == "scheduled"
    assert shop.lines() == 1


def test_a_database_that_cannot_be_asked_makes_the_task_wait(site: Site, shop, queue, monkeypatch):
    _, second, _ = claimed()

    def fail(*_: object) -> None:
        raise OSError("password=s3cret")

    (witness,) = witnesses.registered()
    monkeypatch.setattr(witness, "testify", fail)
    assert run(second, shop, queue).settlement.state == "scheduled"
    (told,) = site.ears.of(Event.WARNING)
    assert told.detail == "the sql witness could not be asked: OSError; the task waits"
    assert shop.lines() == 0


# ---- a queue in the application's own database -------------------------------------------------------------------


class JoiningQueue(LocalQueue):
    """Takes settlements in the application's transaction, as far as that can be seen from outside."""

    capabilities = frozenset({"joins"})
    in_time = True

    def finish_within(self, settlement, execute):
        self.outcome = msgspec.msgpack.decode(settlement.outcome, type=Outcome)
        execute("INSERT INTO line VALUES (:text)", {"text": settlement.state})
        return self.in_time


@pytest.fixture
def joining():
    return Queue(name="default", backend=JoiningQueue(name="default"))


def test_the_store_is_told_in_the_same_transaction(shop, joining):
    finished = run(claimed()[0], shop, joining)
    assert finished.is_settled
    assert finished.settlement.state == "done"
    assert shop.lines() == 2  # the view's, and the store's


def test_the_store_is_told_of_the_response_as_it_is_told_afterwards(shop, joining):
    afterwards = outcome_of(run(claimed()[0], shop, joining))
    told = msgspec.structs.replace(joining.backend.outcome, duration_seconds=0.0, finished_at=0.0)
    assert told == msgspec.structs.replace(afterwards, duration_seconds=0.0, finished_at=0.0)
    assert (told.reason, told.headers, told.body) == ("answered 200", (("X-Sold", "1"),), b"sold")


def test_without_a_door_that_tells_the_answer_the_store_is_told_of_a_200(shop, joining):
    def answer_through_a_manager_of_its_own(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        manager = environ["tm.manager"] = transaction.TransactionManager(explicit=True)
        environ["taskqueue.acknowledgement"].join(manager.begin(), manager)
        body = shop._serve(environ, start_response)
        manager.commit()
        return body

    shop.application = answer_through_a_manager_of_its_own
    assert run(claimed()[0], shop, joining).is_settled
    told = joining.backend.outcome
    assert (told.reason, told.status, told.headers, told.body) == ("answered 200", 200, (), b"")


@pytest.mark.parametrize("status", ["302 Found", "500 Internal Server Error"])
def test_a_run_that_did_not_succeed_is_settled_afterwards(shop, joining, status):
    shop.status = status
    assert not run(claimed()[0], shop, joining).is_settled


def test_a_run_whose_claim_was_lost_does_not_commit(shop, joining):
    joining.backend.in_time = False
    finished = run(claimed()[0], shop, joining)
    assert not finished.is_settled
    assert ClaimLostError.__name__ in outcome_of(finished).error
    assert shop.lines() == 0


def test_without_a_session_factory_the_error_says_what_to_call(shop, joining):
    for witness in witnesses.registered():
        witnesses.unregister(witness)
    error = outcome_of(run(claimed()[0], shop, joining)).error
    assert "call taskqueue.register_witness(session_factory)" in error
    assert shop.lines() == 0


def test_the_transaction_of_a_view_that_aborts_settles_nothing(shop, joining):
    def doom() -> None:
        raise transaction.interfaces.TransientError

    shop.before_commit = doom
    finished = run(claimed()[0], shop, joining)
    assert not finished.is_settled
    assert finished.settlement.state == "scheduled"
    assert shop.lines() == 0
