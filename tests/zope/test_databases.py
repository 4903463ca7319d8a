import pytest

from taskqueue import notices
from taskqueue.settings import ServerSettings
from taskqueue.zope import databases


class Database:
    def __init__(self, pool_size=7):
        self.pool_size = pool_size
        self.told = []

    def getPoolSize(self):  # noqa: N802  # ZODB's name
        return self.pool_size

    def close(self):
        self.told.append("closed")


@pytest.fixture
def warnings():
    told = []
    notices.listen(listener := lambda notice: told.append(notice.detail))
    yield told
    notices.unlisten(listener)


@pytest.fixture
def ini(tmp_path):
    def write(server):
        (tmp_path / "zope.ini").write_text(f"[app:zope]\nuse = egg:Zope#main\n[server:main]\n{server}\n")
        return ["/srv/bin/runwsgi", "-v", str(tmp_path / "zope.ini")]

    return write


@pytest.mark.parametrize(
    ("server", "threads"),
    [
        ("use = egg:waitress#main", 4),
        ("use = egg:waitress#main\nthreads = 9", 9),
        ("paste.server_factory = plone.recipe.zope2instance:main\nuse = egg:plone.recipe.zope2instance#main", 4),
        ("use = egg:gunicorn#main\nthreads = 9", 0),
        ("use = egg:waitress#main\nthreads = many", 0),
    ],
)
def test_the_threads_of_waitress_are_known_by_the_ini_file_of_the_command(ini, server, threads):
    assert databases.waitress_threads(ini(server)) == threads


@pytest.mark.parametrize("arguments", [[], ["runwsgi"], ["runwsgi", "/nowhere/zope.ini"], ["gunicorn", "app:wsgi"]])
def test_without_an_ini_file_nobody_knows_them(arguments):
    assert databases.waitress_threads(arguments) == 0


def servers(*limits, consume="auto"):
    return [ServerSettings(concurrent_limit=limit, consume=consume) for limit in limits]


@pytest.mark.parametrize(
    ("limits", "pool_size", "is_warned"), [((1, 2), 7, False), ((1, 3), 7, True), ((1, 3), 8, False), ((), 1, False)]
)
def test_too_few_connections_for_all_threads_are_warned_of(ini, warnings, monkeypatch, limits, pool_size, is_warned):
    monkeypatch.setattr("sys.argv", ini("use = egg:waitress#main"))
    databases.warn_of_pool(Database(pool_size), servers(*limits))
    assert len(warnings) == is_warned
    assert all("set pool-size 8 or more in its <zodb_db>" in warning for warning in warnings)


def test_where_the_servers_threads_are_not_known_the_consumers_alone_may_be_too_many(warnings, monkeypatch):
    monkeypatch.setattr("sys.argv", ["gunicorn"])
    databases.warn_of_pool(Database(), servers(7))
    assert warnings == []
    databases.warn_of_pool(Database(), servers(8))
    assert len(warnings) == 1


def test_consumers_that_do_not_consume_here_need_none(warnings, monkeypatch):
    monkeypatch.setattr("sys.argv", ["gunicorn"])
    databases.warn_of_pool(Database(), servers(50, consume="no"))
    assert warnings == []


def test_a_database_is_closed_when_everybody_has_stopped():
    database = Database()
    databases.close_after(database, lambda: database.told.append("stopped"))
    database.close()
    assert database.told == ["stopped", "closed"]
