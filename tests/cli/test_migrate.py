import sqlite3

import pytest

from taskqueue.backends import database, schema

NEWER = (*schema.MIGRATIONS, ("ALTER TABLE task ADD COLUMN colour TEXT",), ("CREATE TABLE label (word TEXT)",))
REDIS_INI = "[taskqueue:default]\ntype = redis\nport = 1\n"


@pytest.fixture
def newer_release(monkeypatch):
    """This process is of a release whose schema is version 3."""
    monkeypatch.setattr(schema, "MIGRATIONS", NEWER)
    monkeypatch.setattr(schema, "SCHEMA_VERSION", len(NEWER))
    monkeypatch.setattr(database, "SCHEMA_VERSION", len(NEWER))


@pytest.fixture
def old_site(site, request):
    """A site whose files are of version 1, seen by a release whose schema is version 3."""
    site.close()
    request.getfixturevalue("newer_release")
    return site


def version(site, queue="default"):
    connection = sqlite3.connect(site.folder / f"{queue}.db")
    ((found,),) = connection.execute("SELECT value FROM meta").fetchall()
    connection.close()
    return found


def test_what_is_missing_is_created(run, make_site):
    site = make_site()
    assert run("migrate", site.ini) == (0, "default: created with schema 1\nmail: created with schema 1\n", "")
    assert version(site) == version(site, "mail") == "1"
    assert run("migrate", site.ini).out == "default: has schema 1; nothing to do\nmail: has schema 1; nothing to do\n"


def test_an_older_schema_is_raised(run, old_site):
    refused = run("list", old_site.ini)
    assert refused.status == 1
    assert "run taskqueue migrate" in refused.complaint
    assert run("migrate", old_site.ini).out == ("default: raised from schema 1 to 3\nmail: raised from schema 1 to 3\n")
    assert run("list", old_site.ini).status == 0


def test_one_queue_can_be_migrated(run, old_site):
    assert run("migrate", old_site.ini, "--queue", "mail").out == "mail: raised from schema 1 to 3\n"
    assert (version(old_site), version(old_site, "mail")) == ("1", "3")


def test_a_dry_run_tells_and_changes_nothing(run, old_site):
    ran = run("migrate", old_site.ini, "--dry-run")
    assert ran == (
        0,
        "default: would be raised from schema 1 to 3\nmail: would be raised from schema 1 to 3\n",
        "",
    )
    assert version(old_site) == "1"


def test_a_dry_run_makes_no_file(run, make_site):
    site = make_site()
    assert run("migrate", site.ini, "-n", "-q", "mail").out == "mail: would be created with schema 1\n"
    assert [each.name for each in site.folder.iterdir()] == ["app.ini"]


def test_a_newer_schema_is_refused_and_the_others_are_migrated(run, site):
    connection = sqlite3.connect(site.folder / "default.db")
    connection.execute("UPDATE meta SET value = '9'")
    connection.commit()
    connection.close()
    for dry in ((), ("--dry-run",)):
        ran = run("migrate", site.ini, *dry)
        assert (ran.status, ran.out) == (1, "mail: has schema 1; nothing to do\n")
        assert ran.complaint == (
            "default: its schema is 9, of a newer release, and this one needs 1: upgrade this instance"
        )


def test_a_file_of_something_else_is_refused(run, make_site):
    site = make_site()
    connection = sqlite3.connect(site.folder / "default.db")
    connection.execute("CREATE TABLE visitors (name)")
    connection.close()
    ran = run("migrate", site.ini, "-q", "default")
    assert (ran.status, ran.out) == (1, "")
    assert "is a database of something else; choose another path" in ran.complaint


def test_two_queues_in_one_file_are_migrated_once(run, make_site, request):
    text = "[taskqueue:{}]\ntype = sqlite\npath = %(here)s/both.db\n"
    site = make_site(text.format("default") + text.format("mail"))
    run("migrate", site.ini)
    request.getfixturevalue("newer_release")
    assert run("migrate", site.ini).out == ("default: raised from schema 1 to 3\nmail: has schema 3; nothing to do\n")


def test_json_tells_versions(run, old_site):
    ran = run("migrate", old_site.ini, "--queue", "mail", "--json")
    assert ran.document == {
        "dry_run": False,
        "queues": [
            {"queue": "mail", "type": "sqlite", "found": 1, "needed": 3, "raised_to": [2, 3], "error": None},
        ],
    }


def test_stores_without_a_schema_need_nothing(run, local_ini, tmp_path):
    assert run("migrate", local_ini) == (0, "default: is local, which has no schema; nothing to do\n", "")
    (tmp_path / "redis.ini").write_text(REDIS_INI)
    ran = run("migrate", tmp_path / "redis.ini")
    assert (ran.status, ran.out) == (0, "default: is redis, which has no schema; nothing to do\n")
