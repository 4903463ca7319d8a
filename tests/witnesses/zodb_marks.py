"""How a test marks and commits changes of a ZODB, and asks."""

from taskqueue.witnesses.zodb import ZODBWitness


def change(connection, name="changed"):
    connection.root()[name] = connection.root().get(name, 0) + 1


def mark_in(db, manager, key, prepare=change):
    """Begin a transaction that changes something, and mark it."""
    current = manager.begin()
    prepare(db.open(manager))
    return ZODBWitness(db).mark(key, current, current._resources)


def commit_marked(db, manager, key, prepare=change):
    mark = mark_in(db, manager, key, prepare)
    manager.commit()
    return mark


def ask(db, marks, timeout=30):
    return dict(ZODBWitness(db).testify(marks, timeout))
