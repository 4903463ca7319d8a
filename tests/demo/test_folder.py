"""The folder of the demo site."""

import os

import pytest

from taskqueue.configure import read_ini
from taskqueue.demo.folder import FILES, QUICK, original, prepare
from taskqueue.errors import ConfigurationError


def test_a_new_folder_gets_all_files_as_they_are_in_the_package(tmp_path):
    folder = prepare(tmp_path / "new" / "site")
    assert folder.written == FILES
    assert folder.changed == ()
    assert {path.name: path.read_text() for path in folder.path.iterdir()} == {name: original(name) for name in FILES}
    assert folder.ini.is_absolute()


def test_a_second_time_nothing_is_written_and_nothing_is_changed(tmp_path):
    prepare(tmp_path)
    again = prepare(tmp_path, quick=True)
    assert (again.written, again.changed) == ((), ())
    assert (tmp_path / "demo.ini").read_text() == original("demo.ini")


def test_a_file_that_was_changed_is_named_and_left_alone(tmp_path):
    prepare(tmp_path)
    (tmp_path / "page.html").write_text("mine")
    (tmp_path / "demo.ini").unlink()
    folder = prepare(tmp_path)
    assert folder.changed == ("page.html",)
    assert folder.written == ("demo.ini",)
    assert (tmp_path / "page.html").read_text() == "mine"


def test_a_link_is_not_written_through(tmp_path):
    target = tmp_path / "target"
    site = tmp_path / "site"
    site.mkdir()
    (site / "demo.ini").symlink_to(target)
    with pytest.raises(ConfigurationError):
        prepare(site)
    assert not target.exists()


def test_a_quick_configuration_differs_in_nothing_but_its_patience(tmp_path):
    lines = dict(zip(original("demo.ini").splitlines(), original("demo.ini", quick=True).splitlines(), strict=True))
    assert {line: quick for line, quick in lines.items() if line != quick} == QUICK


def test_the_folder_of_somebody_else_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(ConfigurationError, match="belongs to another user"):
        prepare(tmp_path)
    assert list(tmp_path.iterdir()) == []


# ---- on Redis ------------------------------------------------------------------------------------------------------

URL = "rediss://ada:p%40ss@redis.example.org:6380/2"


def test_with_a_url_the_queue_is_on_redis_and_nobody_else_may_read_it(tmp_path):
    folder = prepare(tmp_path, redis_url=URL)
    [queue] = read_ini(folder.ini).queues
    assert (queue.type, queue.backend_options["url"]) == ("redis", URL)
    assert folder.ini.stat().st_mode & 0o777 == 0o600


def test_two_folders_on_one_redis_have_prefixes_of_their_own(tmp_path):
    prefixes = {read_ini(prepare(tmp_path / name, redis_url=URL).ini).queues[0].prefix for name in "ab"}
    assert len(prefixes) == 2
    assert "taskqueue" not in prefixes


def test_a_second_time_with_the_same_url_nothing_is_written(tmp_path):
    prepare(tmp_path, redis_url=URL)
    again = prepare(tmp_path, quick=True, redis_url=URL)
    assert (again.written, again.changed) == ((), ())


def test_a_configuration_that_says_something_else_is_refused_and_left_alone(tmp_path):
    prepare(tmp_path)
    with pytest.raises(ConfigurationError, match="choose another --directory"):
        prepare(tmp_path, redis_url=URL)
    assert (tmp_path / "demo.ini").read_text() == original("demo.ini")
