"""The folder of the demo site."""

import os

import pytest

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
