"""Records that are claimed many at once are read as they are stored, each by itself and in order."""

import sqlite3
import time

import msgspec
import pytest

from taskqueue.interfaces import CLAIM_BYTES_LIMIT, Record

from .making import CONSUMER, OWNER, beat, claim, publish, record


@pytest.fixture
def change(path):
    """Somebody else who writes in the file."""

    def run(statement, *parameters):
        connection = sqlite3.connect(path)
        connection.execute(statement, parameters)
        connection.commit()
        connection.close()

    return run


def test_claimed_records_are_as_they_are_stored(queue):
    beat(queue)
    contents = [(b"", None), (b"\0" * 3, b""), (bytes(range(256)) * 20, b"\xff\0"), (b"x", b"payload" * 500)]
    now = time.time()
    records = [
        record(body=body, secrets=secrets, due=now - place / 7, priority=-place)
        for place, (body, secrets) in enumerate(contents)
    ]
    publish(queue, *records)
    claimed = claim(queue, 10)
    assert [(each.body, each.secrets, each.due) for each in claimed] == [
        (each.body, each.secrets, each.due) for each in records
    ]
    for each in claimed:
        assert msgspec.structs.asdict(each) == msgspec.structs.asdict(queue.get(each.id))


def test_times_keep_all_their_digits(queue, change):
    beat(queue)
    publish(queue, *[record() for _ in range(100)])
    change("UPDATE task SET published_at = 1763770000 + abs(random() % 1000000007) / 7.0, staged_at = published_at / 3")
    claimed = claim(queue, 100)
    assert len(claimed) == 100
    for each in claimed:
        assert queue.get(each.id) == each


def test_a_record_that_somebody_else_changed_is_read_beside_others(queue, change):
    beat(queue)
    ids = [publish(queue, record(body=b"%d" % place)) for place in range(5)]
    change("UPDATE task SET body = 'text', deaths = 'many' WHERE id = ?", ids[1])
    change("UPDATE task SET published_at = 'now' WHERE id = ?", ids[3])
    claimed = claim(queue, 5)
    assert [each.id for each in claimed] == ids
    assert [each.body for each in claimed] == [b"0", b"", b"2", b"", b"4"]


def test_a_file_whose_text_is_not_utf_8_is_read_all_the_same(path, open_queue):
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA encoding = 'UTF-16le'")
    connection.execute("PRAGMA user_version = 1")
    connection.commit()
    connection.close()
    queue = open_queue()
    beat(queue)
    records = [record(body=bytes(range(256)) * 3, secrets=b"\xd8\0\xd8"), record(body=b"odd")]
    publish(queue, *records)
    assert [(each.body, each.secrets) for each in claim(queue, 2)] == [(each.body, each.secrets) for each in records]


def test_no_more_is_claimed_than_may_go_into_one_answer(queue):
    beat(queue)
    third = CLAIM_BYTES_LIMIT // 3
    sizes = [third, third, third, 1, CLAIM_BYTES_LIMIT + 1, 1]
    ids = [publish(queue, record(body=b"x" * size, secrets=None)) for size in sizes]
    assert [[each.id for each in claim(queue, 10)] for _ in range(3)] == [ids[:4], ids[4:5], ids[5:]]


@pytest.mark.parametrize("is_suspect", [False, True])
def test_what_is_large_is_not_kept_in_memory_until_the_next_claim(queue, is_suspect):
    beat(queue)
    large = record(body=b"x" * (CLAIM_BYTES_LIMIT + 1))
    publish(queue, large)
    if is_suspect:
        claim(queue, 1)
        queue.retire(OWNER)
        queue.reclaim(3)
        beat(queue)
    (claimed,) = queue.exchange(OWNER, CONSUMER, (), 1, alone=True).claimed
    assert (claimed.body, claimed.suspect) == (large.body, is_suspect)
    with queue._database.alone() as session:
        assert session.run("SELECT sum(length(content)) FROM answer").fetchone() == (None,)


def test_a_claimed_record_is_one_of_the_type_that_backends_hand_out(queue):
    beat(queue)
    publish(queue, record())
    (claimed,) = claim(queue, 1)
    assert msgspec.convert(msgspec.structs.asdict(claimed), Record) == claimed
