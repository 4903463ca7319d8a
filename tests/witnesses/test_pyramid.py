"""Pyramid applications with pyramid_zodbconn: their databases are witnesses without a word in the application."""

import pytest
from pyramid.config import Configurator
from pyramid.response import Response
from pyramid_zodbconn import get_connection

import taskqueue
from taskqueue import queues, witnesses

from ..doors.test_transactions import call


@pytest.fixture
def make_app(tmp_path):
    databases = {}

    def make(view):
        settings = {
            "zodbconn.uri": f"file://{tmp_path}/Data.fs",
            "zodbconn.uri.catalog": f"file://{tmp_path}/Catalog.fs",
            "taskqueue.queue.default.type": "sqlite",
            "taskqueue.queue.default.path": str(tmp_path / "tasks.db"),
        }
        config = Configurator(settings=settings)
        for include in ("taskqueue.pyramid", "pyramid_tm", "pyramid_zodbconn"):
            config.include(include)
        config.add_route("home", "/")
        config.add_view(view, route_name="home")
        databases.update(config.registry._zodb_databases)
        return config.make_wsgi_app(), databases

    yield make
    queues.install(None)
    for database in databases.values():
        database.close()


def keys_in(database):
    return [key for record in database.storage.iterator() for key in record.extension.get("taskqueue", ())]


def test_what_a_view_writes_and_adds_is_marked(make_app):
    def view(request):
        get_connection(request).root()["written"] = True
        taskqueue.add("/elsewhere")
        return Response("fine")

    app, databases = make_app(view)
    assert call(app)[0] == "200 OK"
    (key,) = keys_in(databases[""])
    assert keys_in(databases["catalog"]) == []
    marks = [taskqueue.interfaces.WitnessMark(kind="zodb", database="")]
    assert witnesses.testify([(key, marks)], 30) == ([["yes"]], [])


def test_all_of_its_databases_are_witnesses(make_app):
    _, databases = make_app(lambda request: Response("fine"))
    assert {each.database for each in witnesses.registered() if each.kind == "zodb"} == set(databases)
