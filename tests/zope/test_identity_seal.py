"""Real Zope, and somebody who can write to the store: what is not as it was added is not run, and is reported."""

import dataclasses
import sqlite3

import msgspec
import pytest

from taskqueue.record import Keyring, Principal, decode, encode

from .identified import KEY, OTHER_KEY, USERS_ZCML, Identified, Store, queue_section
from .instances import until

pytestmark = pytest.mark.process

QUEUES = {"default": "copy", "moved": "principal", "retired": "principal", "trusted": "principal"}
UMA = Principal("uma-id", "/acl_users")


def sections(consume, retired_key):
    keys = dict.fromkeys(QUEUES, KEY) | {"retired": retired_key}
    return "\n%import taskqueue\n" + "".join(
        queue_section(name, auth, keys[name], consume) for name, auth in QUEUES.items()
    )


class Writer:
    """Somebody with write access to the store, who has no key."""

    def __init__(self, store):
        self._store = store
        self._database = sqlite3.connect(store.path)

    def change(self, task_id, queue, keyring=None, **fields):
        """Make it another task, sealed with other keys, or under the seal that it has."""
        record = self._store.record(task_id, queue)
        made = encode(msgspec.structs.replace(decode(record, None), **fields), keyring or Keyring())
        body = made.body
        if keyring is None:
            body = msgspec.msgpack.encode([*msgspec.msgpack.decode(record.body)[:4], msgspec.msgpack.decode(body)[4]])
        self._write("UPDATE task SET body = ?, secrets = ? WHERE id = ?", body, made.secrets, task_id)

    def move(self, task_id, queue):
        self._write(
            "UPDATE task SET queue = (SELECT number FROM queue WHERE name = ?) WHERE id = ?",
            queue,
            task_id,
        )

    def _write(self, statement, *values):
        with self._database:
            assert self._database.execute(statement, values).rowcount == 1

    def close(self):
        self._database.close()


@dataclasses.dataclass
class Case:
    id: str
    queue: str


@pytest.fixture(scope="module")
def tampered(make_instance, peopled):
    """Tasks of joe, added while nobody consumes; then changed; then Zope starts again with one key fewer."""
    instance = make_instance(sections=sections("no", OTHER_KEY), zcml=USERS_ZCML)
    instance.copy_of(peopled)
    with instance.serve() as process:
        zope = Identified(instance, process)
        joe = zope.by_cookie("joe")
        for queue in QUEUES:  # so that there are all of them in the store
            zope.add(joe, f"/elsewhere/@@note?mark=untouched-{queue}", queue=queue)
        made = {
            name: Case(zope.add(joe, f"/elsewhere/@@note?mark={name}", queue=queue), queue)
            for name, queue in {
                "principal": "trusted",
                "url": "default",
                "unsealed": "trusted",
                "forged": "trusted",
                "moved": "trusted",
                "retired": "retired",
            }.items()
        }
    store = Store(instance)
    writer = Writer(store)
    writer.change(made["principal"].id, "trusted", principal=UMA)
    writer.change(made["url"].id, "default", url="/elsewhere/@@members_note?mark=url")
    writer.change(made["unsealed"].id, "trusted", Keyring(), principal=UMA)
    writer.change(made["forged"].id, "trusted", Keyring([b"somebody else's" * 4]), principal=UMA)
    writer.move(made["moved"].id, "moved")
    made["moved"].queue = "moved"
    writer.close()
    instance.configure(sections("auto", KEY))
    with instance.serve() as process:
        yield Identified(instance, process), made


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("principal", "the record's seal is broken: it was changed in the store"),
        ("url", "the record's seal is broken: it was changed in the store"),
        ("unsealed", "the record has no seal, and this configuration has keys"),
        ("moved", "the record was added to another queue, and was moved in the store"),
    ],
)
def test_what_was_changed_or_moved_is_dead_and_was_not_run(tampered, name, reason):
    zope, made = tampered
    ended = zope.ended(made[name].id, made[name].queue)
    assert ended.state == "dead"
    assert reason in ended.last_outcome.reason
    assert not zope.has_run(name)
    zope.process.wait_for_line(f"(ERROR|WARNING) taskqueue.*{made[name].id}")


@pytest.mark.parametrize("name", ["retired", "forged"])
def test_what_is_sealed_with_a_key_that_is_not_configured_is_left_and_reported(tampered, name):
    zope, made = tampered
    until(lambda: zope.store.task(made[name].id, made[name].queue).state == "scheduled", zope.process)
    assert not zope.has_run(name)
    zope.process.wait_for_line(f"(ERROR|WARNING) taskqueue.*{made[name].id}")
    shown = zope.instance.task(made[name].id)
    assert "sealed with key" in shown["problem"]


@pytest.mark.parametrize("queue", ["default", "moved", "trusted"])
def test_beside_them_the_others_run(tampered, queue):
    zope, _made = tampered
    found = zope.effects.wait_for(1, form={"mark": f"untouched-{queue}"})[0]
    assert found["user"] == "joe"
