"""A Flask application without an ini file: with the transaction middleware, and, for the tests, without."""

import json
import os
import pathlib

import flask

import taskqueue
from taskqueue.wsgi import TaskQueueFilter, TransactionMiddleware

app = flask.Flask("notes")
FOLDER = pathlib.Path(os.environ["NOTES_FOLDER"])


@app.post("/add")
def add():
    return {"id": taskqueue.add(flask.request.form["url"], payload=None)}


@app.post("/add_then_fail")
def add_then_fail():
    taskqueue.add("/record?from=failed", payload=None)
    flask.abort(int(flask.request.form["status"]))


@app.post("/add_then_raise")
def add_then_raise():
    taskqueue.add("/record?from=raised", payload=None)
    raise ValueError("after the add")


@app.post("/commit_in_thread")
def commit_in_thread():
    """What an innocent neighbour does: commits this thread's own transaction."""
    import transaction

    transaction.commit()
    return {}


@app.post("/add_and_stream")
def add_and_stream():
    taskqueue.add("/record?from=stream", payload=None)
    flask.request.environ["taskqueue.stream"] = True
    return flask.Response(("part\n" for _ in range(3)), mimetype="text/plain")


@app.get("/record")
@taskqueue.task_only
def record():
    with open(FOLDER / "effects", "a") as effects:
        effects.write(
            json.dumps({"did": "record", "url": flask.request.url, "from": flask.request.args.get("from")}) + "\n"
        )
    return {}


inner = app.wsgi_app
if os.environ.get("NOTES_TRANSACTIONS", "yes") == "yes":
    inner = TransactionMiddleware(inner)
app.wsgi_app = TaskQueueFilter(
    inner,
    queues={"default": {"type": "sqlite", "path": str(FOLDER / "var" / "tasks.db")}},
    servers={"default": {"concurrent_limit": 2, "lease": 2, "renew": 0.5}},
)
