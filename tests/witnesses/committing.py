"""A process that commits one marked transaction, and stops at a moment that the test has chosen, to be killed there.

python committing.py zodb|zeo|sql|twophase ADDRESS KEY begun|marked|voted|finished
"""

import json
import signal
import sys

import msgspec
import sqlalchemy
import transaction
import ZODB
import zope.sqlalchemy
from sqlalchemy.orm import sessionmaker

from taskqueue.witnesses.sqlalchemy import SQLWitness
from taskqueue.witnesses.zodb import ZODBWitness


class Stop:
    """Takes part in the transaction behind all others, and stops in its vote, or when all others have finished."""

    transaction_manager = transaction.manager

    def __init__(self, moment):
        self._moment = moment

    def sortKey(self):  # noqa: N802  # the name is IDataManager's
        return "~~~"

    def _pass(self, *_):
        pass

    tpc_begin = commit = abort = tpc_abort = _pass

    def tpc_vote(self, _transaction):
        stop_at("voted", self._moment)

    def tpc_finish(self, _transaction):
        stop_at("finished", self._moment)


def stop_at(moment, wanted, **words):
    print(json.dumps({"moment": moment, **words}), flush=True)
    while moment == wanted:
        signal.pause()


def change_zodb(db):
    connection = db.open()
    connection.root()["counter"] = connection.root().get("counter", 0) + 1
    return ZODBWitness(db)


def change_sql(address, two_phase):
    make_session = sessionmaker(bind=sqlalchemy.create_engine(address), twophase=two_phase)
    zope.sqlalchemy.register(make_session)
    witness = SQLWitness(make_session)
    session = make_session()
    session.execute(sqlalchemy.text("UPDATE counter SET value = value + 1"))
    zope.sqlalchemy.mark_changed(session)
    return witness


def main(kind, address, key, moment):
    if kind == "zeo":
        import ZEO

        host, _, port = address.rpartition(":")
        witness = change_zodb(ZEO.DB((host, int(port))))
    elif kind == "zodb":
        witness = change_zodb(ZODB.DB(address))
    else:
        witness = change_sql(address, two_phase=kind == "twophase")
    current = transaction.get()
    data_managers = list(current._resources)
    current.join(Stop(moment))
    stop_at("begun", moment)
    mark = witness.mark(key, current, data_managers)
    stop_at("marked", moment, mark=msgspec.to_builtins(mark))
    transaction.commit()
    stop_at("over", "over")


main(*sys.argv[1:])
