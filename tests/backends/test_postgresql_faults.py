"""What people are told when a PostgreSQL server cannot be used: one line, what to do, no password and no values."""

import os
import socket
import time

import psycopg
import pytest

from taskqueue.backends import postgresql_faults
from taskqueue.backends.postgresql import PostgreSQLQueue
from taskqueue.backends.postgresql_faults import code_of, explain, explain_lost
from taskqueue.errors import BackendUnavailableError

from ..serving import wait_until
from .making import CONSUMER, OWNER, beat, claim, owner, publish, record, stage
from .postgresql_server import Server, new_database, shared_server
from .redis_server import free_port

LATE_SECONDS = 4.0  # less than a call without a timeout would take; a machine may have other things to do


@pytest.fixture
def ask(postgresql, postgresql_url):
    """One statement in this test's database."""
    return lambda statement: postgresql.ask(statement, database=postgresql_url.rpartition("/")[2])


def refusal(url, act=lambda queue: queue.beat(owner(), 60.0, 2.0)):
    """What people are told."""
    queue = PostgreSQLQueue(name="default", url=url)
    with pytest.raises(BackendUnavailableError) as caught:
        act(queue)
    queue.close()
    assert "\n" not in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert len(str(caught.value)) < 300
    return str(caught.value)


# ---- words -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ('connection failed: FATAL:  password authentication failed for user "ada"', "28P01"),
        ("fe_sendauth: no password supplied", "28P01"),
        ('FATAL:  database "shop" does not exist', "3D000"),
        ('FATAL:  role "ada" does not exist', "28P01"),
        ('FATAL:  no pg_hba.conf entry for host "192.0.2.1"', "28000"),
        ("FATAL:  sorry, too many clients already", "53300"),
        ("FATAL:  remaining connection slots are reserved for roles with the SUPERUSER attribute", "53300"),
        ("FATAL:  the database system is starting up", "57P03"),
        ("session is read-only", "25006"),
        ('could not translate host name "db.example" to address', "HOST"),
        ("Connection refused\n\tIs the server running on that host?", "REFUSED"),
        ('invalid sslmode value: "maybe"', "URL"),
        ("no one knows these words", ""),
    ],
)
def test_words_on_connecting_stand_for_a_code(words, code):
    assert code_of(words) == code
    assert "\n" not in explain_lost(words)


def test_every_cure_is_one_line_and_every_word_has_one():
    for code, text in postgresql_faults._CURES.items():
        assert explain(code, "whatever") == text
        assert "\n" not in text
    assert {code for _, code in postgresql_faults._WORDS} <= postgresql_faults._CURES.keys()


def test_an_unknown_error_shows_its_code_and_no_value():
    told = explain("22P02", 'invalid input syntax for type json: "s3cret"')
    assert "s3cret" not in told
    assert "22P02" in told
    assert len(explain("XX000", "x" * 10_000)) < 250


# ---- servers ---------------------------------------------------------------------------------------------------------


def test_a_disk_that_cannot_be_written_is_not_taken_for_a_missing_right():
    told = explain("42501", 'could not open file "base/5/2601": Read-only file system')
    assert "mounted read-only" in told
    assert "migrate" in explain("42501", "permission denied for table taskqueue_task")


def test_a_database_that_is_missing_is_told(postgresql):
    assert "create it, or name another in url" in refusal(postgresql.url("nowhere"))


def test_nobody_who_listens_is_told_at_once():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        begun = time.monotonic()
        told = refusal(f"postgresql://ada:s3cret@127.0.0.1:{found.getsockname()[1]}/site")
    assert "nothing listens there" in told
    assert time.monotonic() - begun < LATE_SECONDS


def test_a_server_that_never_answers_costs_no_more_than_the_timeout():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        begun = time.monotonic()
        refusal(
            f"postgresql://ada:s3cret@127.0.0.1:{silent.getsockname()[1]}/site",
            lambda queue: queue.stage([record()], b"", "owner", 0.3),
        )
    assert time.monotonic() - begun < LATE_SECONDS


def test_the_second_of_two_hosts_is_reached_while_the_first_is_silent(postgresql, postgresql_url):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        ports = f"127.0.0.1:{silent.getsockname()[1]},127.0.0.1:{postgresql.port}"
        queue = PostgreSQLQueue(
            name="default", url=f"postgresql://postgres@{ports}/{postgresql_url.rpartition('/')[2]}"
        )
        queue.beat(owner(), 60.0, 4.0)
        assert len(queue.owners()) == 1
        queue.close()


def test_a_unix_socket_can_be_used(postgresql, postgresql_url):
    database = postgresql_url.rpartition("/")[2]
    queue = PostgreSQLQueue(
        name="default", url=f"postgresql://postgres@/{database}?host={postgresql.sockets}&port={postgresql.port}"
    )
    beat(queue)
    assert str(postgresql.sockets) in repr(queue)
    queue.close()


def test_a_password_in_the_file_of_libpq_is_used(tmp_path, monkeypatch):
    with Server() as server:
        url = server.create_database()
        server.ask("CREATE ROLE ada LOGIN SUPERUSER PASSWORD 's3cret'")
        configuration = server.folder / "data" / "pg_hba.conf"
        configuration.write_text("host all ada 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\n")
        server.ask("SELECT pg_reload_conf()")
        url = url.replace("postgres@", "ada@")
        assert "refuses this user or password" in refusal(url)
        assert "refuses this user or password" in refusal(url.replace("ada@", "ada:s3cret2@"))
        passwords = tmp_path / "passwords"
        passwords.write_text("*:*:*:ada:s3cret\n")
        os.chmod(passwords, 0o600)
        monkeypatch.setenv("PGPASSFILE", str(passwords))
        queue = PostgreSQLQueue(name="default", url=url)
        beat(queue)
        queue.close()


def test_a_database_that_is_read_only_is_told_as_a_standby_would_be(postgresql_url, ask):
    database = postgresql_url.rpartition("/")[2]
    beat(PostgreSQLQueue(name="default", url=postgresql_url))
    ask(f"ALTER DATABASE {database} SET default_transaction_read_only = on")
    queue = PostgreSQLQueue(name="default", url=postgresql_url)
    queue.try_adding(5.0)
    publish(queue, record())  # a default alone keeps nobody from writing
    queue.close()
    assert "target_session_attrs=read-write" in explain("25006", "")


def test_a_standby_is_told_when_adding_is_tried():
    with Server() as server:
        queue = PostgreSQLQueue(name="default", url=server.create_database())
        queue.try_adding(5.0)
        server.stop()
        (server.folder / "data" / "standby.signal").touch()
        server.start(hot_standby="on")
        with pytest.raises(BackendUnavailableError, match="it takes no changes"):
            queue.try_adding(5.0)
        queue.close()


def test_a_database_whose_default_is_serializable_is_used_at_read_committed(postgresql_url, ask):
    ask(f"ALTER DATABASE {postgresql_url.rpartition('/')[2]} SET default_transaction_isolation = 'serializable'")
    queue = PostgreSQLQueue(name="default", url=postgresql_url)
    stage(queue, record())
    assert queue._link.run(queue_statement("SHOW transaction_isolation"), 5.0) == [("read committed",)]
    queue.close()


def queue_statement(text):
    from taskqueue.backends.postgresql_statements import Statement

    return Statement("ask", text, ())


def test_a_server_with_as_many_clients_as_it_takes_is_told():
    with Server(max_connections="5", superuser_reserved_connections="0", max_wal_senders="0") as server:
        url = server.create_database()
        held = [server.connect() for _ in range(5)]
        try:
            assert "raise its max_connections" in refusal(url)
        finally:
            for connection in held:
                connection.close()


def test_a_user_without_a_right_to_the_tables_is_told(postgresql, postgresql_url, ask):
    beat(PostgreSQLQueue(name="default", url=postgresql_url))
    ask("CREATE ROLE guest LOGIN")
    try:
        told = refusal(postgresql.url(postgresql_url.rpartition("/")[2], user="guest"))
        assert "lacks a right" in told
        assert "taskqueue migrate" in told
    finally:
        ask("DROP ROLE guest")


def test_values_of_rows_stand_in_no_error(postgresql_url, ask):
    queue = PostgreSQLQueue(name="default", url=postgresql_url)
    beat(queue)
    ask("ALTER TABLE taskqueue_task ADD CHECK (body <> 's3cret')")
    told = refusal(postgresql_url, lambda queue: stage(queue, record(body=b"s3cret")))
    assert "23514" in told
    assert b"s3cret".hex() not in told
    queue.close()


def test_sessions_that_the_server_ends_are_replaced_unseen(postgresql_url, ask):
    queue = PostgreSQLQueue(name="default", url=postgresql_url)
    beat(queue)
    for _ in range(3):
        ask(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        stage(queue, record())
    assert queue.counts().states["staged"] == 3
    queue.close()


def test_errors_write_nothing_to_the_log_of_psycopg(postgresql_url, ask, caplog):
    queue = PostgreSQLQueue(name="default", url=postgresql_url)
    beat(queue)
    ask("DROP TABLE taskqueue_task")
    refusal(postgresql_url, lambda queue: stage(queue, record()))
    with pytest.raises(BackendUnavailableError, match="run taskqueue migrate"):
        stage(queue, record())
    queue.close()
    assert [each for each in caplog.records if each.name.startswith("psycopg")] == []


def test_a_new_database_is_there_while_another_is_dropped():
    with new_database(shared_server()) as url:
        queue = PostgreSQLQueue(name="default", url=url)
        beat(queue)
    with pytest.raises(BackendUnavailableError, match="no such database"):
        beat(queue)
    queue.close()


# ---- exchanges that are under way ----------------------------------------------------------------------------------


@pytest.fixture
def held(postgresql_url):
    """A queue with one ready task, and another session that keeps everybody from the tasks until it ends."""
    queue = PostgreSQLQueue(name="default", url=postgresql_url)
    beat(queue)
    publish(queue, record())
    with psycopg.connect(postgresql_url) as other:
        other.execute("LOCK TABLE taskqueue_task")
        yield queue, other
    queue.close()


def test_an_exchange_under_way_when_its_session_is_ended_is_told(held, ask):
    queue, other = held
    begun = queue.begin_exchange(OWNER, CONSUMER, (), 1)
    waiting = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    wait_until(lambda: ask(waiting))
    assert not begun.is_here()
    ask(f"SELECT pg_terminate_backend(pid) FROM ({waiting}) AS waiting")
    other.rollback()
    with pytest.raises(BackendUnavailableError, match="PostgreSQL at "):
        begun.end()
    assert queue.release(OWNER, CONSUMER, ()) in {0, 1}
    assert len(claim(queue, 5)) == 1


def test_an_exchange_waits_for_whoever_holds_its_tasks(held):
    queue, other = held
    begun = queue.begin_exchange(OWNER, CONSUMER, (), 1)
    assert not begun.is_here()
    other.rollback()
    wait_until(begun.is_here)
    assert len(begun.end().claimed) == 1


def test_trying_to_add_waits_as_long_as_it_may_for_who_keeps_everybody_from_the_tasks(held):
    queue, other = held
    with pytest.raises(BackendUnavailableError, match="somebody else locks the tasks for too long"):
        queue.try_adding(0.5)
    other.rollback()
    queue.try_adding(5.0)


def test_an_exchange_that_nobody_could_take_in_is_told_at_its_end():
    queue = PostgreSQLQueue(name="default", url=f"postgresql://nobody:s3cret@127.0.0.1:{free_port()}/none")
    begun = queue.begin_exchange(OWNER, CONSUMER, (), 1)
    with pytest.raises(BackendUnavailableError, match="PostgreSQL at ") as caught:
        begun.end()
    assert "s3cret" not in str(caught.value)
    queue.close()


def test_an_exchange_whose_statements_the_server_has_lost_is_run_all_the_same(postgresql_url, ask):
    queue = PostgreSQLQueue(name="default", url=postgresql_url)
    beat(queue)
    for _ in range(2):  # the second time they are prepared
        claim(queue, 1)
    task_id = publish(queue, record())
    queue._link.run(queue_statement("DEALLOCATE ALL"), 5.0)
    begun = queue.begin_exchange(OWNER, CONSUMER, (), 1)
    assert [each.id for each in begun.end().claimed] == [task_id]
    queue.close()


def test_an_exchange_that_cannot_be_put_in_words_is_told_at_its_beginning(postgresql_url):
    queue = PostgreSQLQueue(name="default", url=postgresql_url)
    beat(queue)
    with pytest.raises(BackendUnavailableError, match="PostgreSQL at "):
        queue.begin_exchange("an owner with a \0", CONSUMER, (), 1)
    task_id = publish(queue, record())
    assert [each.id for each in claim(queue, 1)] == [task_id]
    queue.close()
