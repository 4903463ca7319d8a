from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from paste.deploy import loadapp

from taskqueue.configure import Configuration, read_ini
from taskqueue.errors import ConfigurationError

SQLITE = "type = sqlite\npath = %(here)s/base.db\n"
SECTIONS = "[taskqueue:default]\n" + SQLITE + "[taskqueue-server:default]\n"
SETTINGS = "taskqueue.queue.default.type = sqlite\ntaskqueue.queue.default.path = %(here)s/base.db\n"
FACTORY = "paste.app_factory = tests.test_inifiles:app_factory\n"


def app_factory(_global_conf: Any, **settings: str) -> Any:
    """An application that shows the settings which PasteDeploy gave it."""
    return settings


@pytest.fixture
def read(tmp_path: Path) -> Any:
    """Write files into folders of their own, and read the first."""

    def write_and_read(app: str = "", **files: str) -> Configuration:
        for name, text in files.items():
            folder = tmp_path / name
            folder.mkdir(exist_ok=True)
            (folder / f"{name}.ini").write_text(text)
        first = next(iter(files))
        return read_ini(tmp_path / first / f"{first}.ini", app=app)

    return write_and_read


def path_of(configuration: Configuration) -> Any:
    return configuration.queues[0].backend_options["path"]


def error_of(read: Any, **files: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        read(**files)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


# ---- settings ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outer", "base"),
    [
        ("[app:main]\nuse = config:../base/base.ini\n", "[app:main]\n"),
        ("[app:main]\nuse = config:../base/base.ini#shop\n", "[app:other]\nuse = egg:x\n[app:shop]\n"),
        ("[app:main]\nuse = config:%(here)s/../base/base.ini\n", "[app:main]\n"),
        ("[DEFAULT]\nbase = ../base/base.ini\n[app:main]\nuse = config:%(base)s\n", "[app:main]\n"),
        ("[app:main]\nuse = shop\n[app:shop]\nuse = config:../base/base.ini\n", "[app:main]\n"),
        ("[pipeline:main]\npipeline = x config:../base/base.ini\n[filter:x]\nuse = egg:x\n", "[app:main]\n"),
        ("[composite:main]\nuse = egg:Paste#urlmap\n/ = config:../base/base.ini\n", "[app:main]\n"),
        ("[filter-app:main]\nuse = egg:x\nnext = config:../base/base.ini\n", "[app:main]\n"),
    ],
)
def test_settings_are_those_of_the_file_that_the_application_is_taken_from(
    read: Any, tmp_path: Path, outer: str, base: str
) -> None:
    assert path_of(read(outer=outer, base=base + SETTINGS)) == f"{tmp_path}/base/base.db"


def test_settings_are_what_pastedeploy_makes_of_them(read: Any, tmp_path: Path) -> None:
    outer = (
        "[DEFAULT]\nvar = outer\n[app:main]\nuse = config:../base/base.ini#shop\nset own = mine\n"
        "taskqueue.queue.default.path = %(here)s/outer.db\n"
    )
    base = (
        "[DEFAULT]\nvar = base\n[app:shop]\n" + FACTORY + SETTINGS + "taskqueue.queue.default.prefix = %(var)s\n"
        "taskqueue.queue.default.base_url = http://%(own)s\n"
    )
    [queue] = read(outer=outer, base=base).queues
    given = loadapp(f"config:{tmp_path}/outer/outer.ini")
    assert queue.backend_options["path"] == given["taskqueue.queue.default.path"] == f"{tmp_path}/outer/outer.db"
    assert queue.prefix == given["taskqueue.queue.default.prefix"] == "base"
    assert queue.base_url == given["taskqueue.queue.default.base_url"] == "http://mine"


def test_an_error_in_settings_of_two_files_names_both(read: Any) -> None:
    outer = "[app:main]\nuse = config:../base/base.ini\ntaskqueue.queue.default.paht = x\n"
    error = error_of(read, outer=outer, base="[app:main]\n" + SETTINGS)
    assert error.startswith("outer.ini: [app:main], base.ini: [app:main]: taskqueue.queue.default.paht: ")


# ---- sections ------------------------------------------------------------------------------------------------------


def test_sections_are_those_of_the_file_that_the_application_is_taken_from(read: Any, tmp_path: Path) -> None:
    found = read(outer="[app:main]\nuse = config:../base/base.ini\n[server:main]\nuse = x\n", base=SECTIONS)
    assert path_of(found) == f"{tmp_path}/base/base.db"
    assert [server.name for server in found.servers] == ["default"]


def test_a_section_stands_in_place_of_that_of_the_same_name(read: Any) -> None:
    outer = "[app:main]\nuse = config:../base/base.ini\n[taskqueue:default]\ntype = sqlite\npath = outer.db\n"
    found = read(outer=outer, base=SECTIONS + "[taskqueue:mail]\n" + SQLITE)
    paths = {queue.queue: Path(queue.backend_options["path"]).name for queue in found.queues}
    assert paths == {"default": "outer.db", "mail": "base.db"}
    assert [server.name for server in found.servers] == ["default"]


def test_the_same_file_may_be_named_twice(read: Any) -> None:
    outer = "[app:main]\nuse = config:../base/base.ini\n[app:b]\nuse = config:../base/base.ini#b\n"
    assert path_of(read(outer=outer, base=SECTIONS)).endswith("base.db")


def test_files_that_name_each_other_end_somewhere(read: Any) -> None:
    outer = "[app:main]\nuse = config:../base/base.ini\n"
    assert path_of(read(outer=outer, base="[app:main]\nuse = config:../outer/outer.ini\n" + SECTIONS))


# ---- what cannot be told -------------------------------------------------------------------------------------------


def test_two_files_side_by_side_that_both_have_sections_are_refused(read: Any) -> None:
    outer = "[composite:main]\nuse = egg:Paste#urlmap\n/1 = config:../one/one.ini\n/2 = config:../two/two.ini\n"
    error = error_of(read, outer=outer, one=SECTIONS, two=SECTIONS)
    assert (
        error
        == "outer.ini names one.ini and two.ini, and both have sections [taskqueue…]; keep them in one of the files"
    )


def test_settings_in_one_file_and_sections_in_the_other_are_refused(read: Any) -> None:
    said = "settings taskqueue.queue.… or taskqueue.server.…, and {} has sections [taskqueue…], too; keep one of them"
    use = "[app:main]\nuse = config:../base/base.ini\n"
    error = error_of(read, outer=use + SETTINGS, base=SECTIONS)
    assert error == f"outer.ini: [app:main] has {said.format('base.ini')}"
    error = error_of(read, outer=use + SECTIONS, base="[app:main]\n" + SETTINGS)
    assert error == f"base.ini: [app:main] has {said.format('outer.ini')}"


@pytest.mark.parametrize(
    ("use", "reason"),
    [
        ("config:no.ini", "cannot be read: No such file or directory"),
        ("config:%(no)s", "there is no %(no)s; takes %(here)s and variables of [DEFAULT]; write any other % as %%"),
    ],
)
def test_a_file_that_is_not_there_is_an_error_that_says_who_names_it(read: Any, use: str, reason: str) -> None:
    error = error_of(read, outer=f"[app:main]\nuse = {use}\n")
    assert error.startswith("outer.ini: [app:main] use: ")
    assert error.endswith(reason)
