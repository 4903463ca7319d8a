from __future__ import annotations

import os
import threading
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from taskqueue.configure import Configuration, read_ini, read_keywords, read_settings
from taskqueue.errors import ConfigurationError
from taskqueue.settings import QueueSettings, ServerSettings


@pytest.fixture
def site(tmp_path: Path) -> Any:
    """Write an ini file and read it."""

    def read(content: str | bytes, variables: dict[str, str] | None = None, app: str = "") -> Configuration:
        file = tmp_path / "site.ini"
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_ini(file, variables, app=app)

    return read


def error_of(read: Any, *arguments: Any, **keywords: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        read(*arguments, **keywords)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


SQLITE = "[taskqueue:mail]\ntype = sqlite\npath = tasks.db\n"

# ---- what is understood ------------------------------------------------------------------------------------------


def test_without_any_section_there_is_one_local_queue_with_its_consumer(site: Any) -> None:
    for found in (site("[app:main]\nuse = egg:x\n"), site(""), read_settings({}), read_keywords(None, None)):
        assert (found.queues, found.servers) == ((QueueSettings(),), (ServerSettings(),))
        assert (found.queues[0].queue, found.queues[0].type) == ("default", "local")
        assert (found.servers[0].name, found.servers[0].queue) == ("default", "default")
        assert found.is_default


def test_without_a_consumer_an_instance_only_adds(site: Any) -> None:
    found = site(SQLITE)
    assert ([queue.queue for queue in found.queues], found.servers, found.is_default) == (["mail"], (), False)


def test_a_consumer_alone_has_the_default_queue(site: Any) -> None:
    found = site("[taskqueue-server:night]\nconcurrent_limit = 3\n")
    assert found.queues == (QueueSettings(),)
    assert [(server.name, server.queue, server.concurrent_limit) for server in found.servers] == [
        ("night", "default", 3)
    ]
    assert not found.is_default


def test_a_consumer_alone_cannot_take_from_a_queue_that_is_not_there(site: Any) -> None:
    error = error_of(site, "[taskqueue-server:night]\nqueue = mail\n")
    assert error == "site.ini: [taskqueue-server:night] queue: there is no queue 'mail'; configured are: none"


def test_sections_without_a_name_are_called_default(site: Any) -> None:
    found = site("[taskqueue]\ntype = sqlite\npath = x\n[taskqueue-server]\n")
    assert (found.queues[0].queue, found.servers[0].name) == ("default", "default")


SECTIONS = (
    SQLITE,
    "[taskqueue:fast]\n",
    "[taskqueue-server:a]\nqueue = mail\n",
    "[taskqueue-server:b]\nqueue = fast\n",
)


def test_the_order_of_sections_is_free(site: Any) -> None:
    found = {
        (frozenset(q.queue for q in each.queues), frozenset((s.name, s.queue) for s in each.servers))
        for each in (site("".join(order)) for order in permutations(SECTIONS))
    }
    assert found == {(frozenset({"mail", "fast"}), frozenset({("a", "mail"), ("b", "fast")}))}


def test_values_are_utf_8(site: Any) -> None:
    options = site("[taskqueue:x]\ntype = sqlite\npath = /var/täsks/日本.db\n").queues[0].backend_options
    assert options["path"] == "/var/täsks/日本.db"


def test_a_byte_order_mark_is_not_part_of_the_first_section(site: Any) -> None:
    assert site(b"\xef\xbb\xbf" + SQLITE.encode()).queues[0].queue == "mail"


def test_line_ends_of_other_systems_are_line_ends(site: Any, tmp_path: Path) -> None:
    found = site(SQLITE.replace("\n", "\r\n").encode()).queues[0].backend_options
    assert found["path"] == str(tmp_path / "tasks.db")


def test_other_sections_and_what_is_in_them_is_none_of_our_business(site: Any) -> None:
    content = "[loggers]\nkeys = root %(nothing)s\n[filter:taskqueue]\nuse = egg:x\n[app:taskqueue]\nqueue = 5 %\n"
    assert site(content + "[queue:x]\nfoo = 1\n[server:main]\nport = 80\n" + SQLITE).queues[0].queue == "mail"


# ---- interpolation -----------------------------------------------------------------------------------------------


def path_of(configuration: Configuration) -> Any:
    return configuration.queues[0].backend_options["path"]


def test_here_is_the_folder_of_the_file(site: Any, tmp_path: Path) -> None:
    assert path_of(site("[taskqueue:x]\ntype = sqlite\npath = %(here)s/tasks.db\n")) == f"{tmp_path}/tasks.db"
    assert path_of(site("[taskqueue:x]\ntype = sqlite\npath = %(__file__)s.db\n")) == f"{tmp_path}/site.ini.db"


def test_here_may_hold_a_percent_sign(tmp_path: Path) -> None:
    folder = tmp_path / "100%(x)s"
    folder.mkdir()
    (folder / "site.ini").write_text("[taskqueue:x]\ntype = sqlite\npath = %(here)s/tasks.db\n")
    assert path_of(read_ini(folder / "site.ini")) == f"{folder}/tasks.db"


def test_defaults_are_interpolated_but_are_no_options_of_a_section(site: Any) -> None:
    content = "[DEFAULT]\nvar = /srv\nlease = nonsense\nzzz = 1\n[taskqueue:x]\ntype = sqlite\npath = %(var)s/t.db\n"
    assert path_of(site(content)) == "/srv/t.db"


def test_a_section_sees_its_own_options_in_interpolation(site: Any) -> None:
    assert path_of(site("[taskqueue:x]\ntype = sqlite\nprefix = abc\npath = /%(prefix)s.db\n")) == "/abc.db"


def test_a_relative_path_begins_at_the_folder_of_the_file(site: Any, tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert path_of(site("[taskqueue:x]\ntype = sqlite\npath = var/tasks.db\n")) == str(tmp_path / "var" / "tasks.db")
    (tmp_path / "keys").write_text("k" * 40)
    found = site("[taskqueue:x]\ntype = sqlite\npath = /tasks.db\nsecret_file = keys\n")
    assert found.queues[0].secret == (b"k" * 40,)


def test_none_is_no_path(site: Any) -> None:
    found = site("[taskqueue:x]\ntype = redis\nunix_socket_path = none\ntls_ca_file = None\n").queues[0]
    assert (found.backend_options["unix_socket_path"], found.backend_options["tls_ca_file"]) == (None, None)


@pytest.mark.parametrize("path", ["~/tasks.db", ":memory:", "sqlite:///tasks.db", "file:tasks.db?mode=ro"])
def test_what_only_looks_like_a_path_is_refused(site: Any, path: str) -> None:
    error = error_of(site, f"[taskqueue:x]\ntype = sqlite\npath = {path}\n")
    assert error.startswith("site.ini: [taskqueue:x] path: takes the path of a file, without ~ and not as a URL")


def test_variables_keep_their_case_and_give_way_to_the_file(site: Any) -> None:
    content = "[taskqueue:x]\ntype = sqlite\npath = %(DB_Path)s\n"
    assert path_of(site(content, {"DB_Path": "/a%b"})) == "/a%b"
    assert path_of(site("[DEFAULT]\nDB_Path = /file\n" + content, {"DB_Path": "/given"})) == "/file"


def test_set_is_pastes_way_to_write_an_option_that_is_a_default_too(site: Any) -> None:
    content = "[DEFAULT]\npath = /global\n[taskqueue:x]\ntype = sqlite\nset path = /own\n"
    assert path_of(site(content)) == "/own"


def test_an_option_that_is_there_twice_once_after_set_is_an_error(site: Any) -> None:
    error = error_of(site, SQLITE + "set path = other.db\n")
    assert error == "site.ini: [taskqueue:mail] path: is there twice, once after set"


@pytest.mark.parametrize("value", ["100%", "%(nothing)s", "%d", "%(here", "%(path)s", "a%%b%"])
def test_a_percent_sign_that_is_not_doubled_is_an_error_that_says_how_to_write_it(site: Any, value: str) -> None:
    error = error_of(site, f"[taskqueue:x]\ntype = sqlite\npath = {value}\n")
    hint = "there is no %(nothing)s; " if "nothing" in value else ""
    said = "takes %(here)s and variables of [DEFAULT]; write any other % as %%"
    assert error == f"site.ini: [taskqueue:x] path: {hint}{said}"


def test_a_doubled_percent_sign_is_one(site: Any) -> None:
    assert path_of(site("[taskqueue:x]\ntype = sqlite\npath = /100%%.db\n")) == "/100%.db"


def test_a_percent_sign_in_a_secret_is_not_shown(site: Any) -> None:
    assert "hunter2" not in error_of(site, "[taskqueue:x]\nsecret = hunter2%hunter2\n")


# ---- files that are none -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "reason"),
    [("missing.ini", "No such file or directory"), ("folder", "Is a directory"), ("a\0b", "it is not UTF-8 text")],
)
def test_a_file_that_cannot_be_read_is_an_error_that_says_why(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "folder").mkdir()
    assert error_of(read_ini, str(tmp_path / name)).endswith(f"cannot be read: {reason}")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "site.ini"
    file.write_text(SQLITE)
    file.chmod(0)
    assert error_of(read_ini, file).endswith("cannot be read: Permission denied")


def test_a_file_that_is_no_text_is_an_error(site: Any) -> None:
    assert error_of(site, b"[taskqueue:x]\n\xff\xfe").endswith("cannot be read: it is not UTF-8 text")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("hunter2hunter2\n", "line 1: takes a section such as [taskqueue:default] before the first option"),
        ("[taskqueue:x]\nsecret =\nhunter2hunter2\n", "line 3: takes a [section], option = value, or more of a value"),
        ("[taskqueue:x]\nsecret = hunter2\nsecret = hunter2\n", "[taskqueue:x] secret: is there twice (line 3)"),
        ("[taskqueue:x]\n[taskqueue:x]\n", "[taskqueue:x] is there twice (line 2)"),
        ("[app:main]\n[app:main]\n", "[app:main] is there twice (line 2)"),
    ],
)
def test_what_is_no_ini_file_is_an_error_with_the_line_but_not_what_is_in_it(
    site: Any, content: str, expected: str
) -> None:
    error = error_of(site, content)
    assert error.startswith(f"site.ini: {expected}")
    assert "hunter2" not in error


# ---- names that are wrong ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("title", "near"),
    [
        ("taskqueue-sever:x", "taskqueue-server"),
        ("taskqueue_server:x", "taskqueue-server"),
        ("TaskQueue-Server:x", "taskqueue-server"),
        ("taskqueue-servers:x", "taskqueue-server"),
        ("taskqueueserver:x", "taskqueue-server"),
        ("taskqueue server:x", "taskqueue-server"),
        ("taskqueues:x", "taskqueue"),
        ("Taskqueue:x", "taskqueue"),
        ("task-queue:x", "taskqueue"),
        ("taskqueu", "taskqueue"),
        ("taksqueue:x", "taskqueue"),
    ],
)
def test_a_misspelt_section_is_an_error_with_the_near_one(site: Any, title: str, near: str) -> None:
    assert error_of(site, f"[{title}]\n") == f"site.ini: [{title}]: is not a section; did you mean [{near}:…]?"


@pytest.mark.parametrize(
    "content",
    [
        "[taskqueue]\n[taskqueue:default]\n[taskqueue-server:x]\n",
        "[taskqueue:default]\n[taskqueue: default ]\n[taskqueue-server:x]\n",
    ],
)
def test_two_sections_of_one_name_are_an_error(site: Any, content: str) -> None:
    assert error_of(site, content).endswith("there is another 'default'; takes a name that is there once")


def test_two_keywords_of_one_name_are_an_error() -> None:
    for given in ({"x": {}, " x": {}}, {"1": {}, 1: {}}):
        assert "there is another" in error_of(read_keywords, None, given)
        assert "there is another" in error_of(read_keywords, given, None)


def test_a_consumer_of_an_absent_queue_is_an_error_that_names_the_known_ones(site: Any) -> None:
    error = error_of(site, SQLITE + "[taskqueue:big]\ntype=sqlite\npath=y\n[taskqueue-server:s]\nqueue = mial\n")
    assert error == (
        "site.ini: [taskqueue-server:s] queue: there is no queue 'mial'; configured are: big, mail; did you mean mail?"
    )


def test_a_consumer_without_a_queue_is_told_that_the_default_is_not_there(site: Any) -> None:
    assert "[taskqueue-server:s] queue: there is no queue 'default'" in error_of(
        site, SQLITE + "[taskqueue-server:s]\n"
    )


def test_a_consumer_that_has_the_name_of_a_forgotten_queue_in_place_of_the_queue_is_an_error(site: Any) -> None:
    both = "[taskqueue:default]\ntype=sqlite\npath=z\n" + SQLITE
    assert error_of(site, both + "[taskqueue-server:mail]\n[taskqueue-server:default]\n") == (
        "site.ini: [taskqueue-server:mail] queue: is not given, so that this consumer takes from 'default', and none "
        "takes from 'mail', the name that it has; takes mail, or default if that is meant"
    )
    assert site(both + "[taskqueue-server:mail]\nqueue = default\n").servers[0].queue == "default"
    assert site(both + "[taskqueue-server:mail]\n[taskqueue-server:x]\nqueue = mail\n").servers[0].queue == "default"


@pytest.mark.parametrize("consumer", ["", "[taskqueue-server:x]\nconsume = no\n", "[taskqueue-server:x]\nqueue=mail\n"])
def test_a_local_queue_without_a_consumer_is_an_error_that_says_what_to_add(site: Any, consumer: str) -> None:
    error = error_of(site, "[taskqueue:default]\n" + consumer + (SQLITE if "mail" in consumer else ""))
    assert error.startswith("site.ini: [taskqueue:default] type: a local queue is seen by this process only")
    cure = "add [taskqueue-server:default], or use another type"
    assert cure in error


@pytest.mark.parametrize("name", ["{x}", "{0}", "{option}", "%s", "a{"])
def test_names_that_look_like_templates_are_only_names(site: Any, name: str) -> None:
    assert f"[taskqueue:{name}]" in error_of(site, f"[taskqueue:{name}]\nfoo = 1\n")
    assert "takes a name" in error_of(read_keywords, {name: {}}, None)
    assert "takes a name" in error_of(read_settings, {f"taskqueue.queue.{name}.type": "local"})


# ---- Pyramid settings --------------------------------------------------------------------------------------------


def test_settings_are_understood_and_others_left_alone() -> None:
    found = read_settings(
        {
            "pyramid.includes": "pyramid_tm",
            "sqlalchemy.url": "x",
            "taskqueue_like": "x",
            "taskqueue.queue.mail.type": "sqlite",
            "taskqueue.queue.mail.path": Path("tasks.db"),
            "taskqueue.queue.a.b.type": "sqlite",
            "taskqueue.queue.a.b.path": "x",
            "taskqueue.server.night.queue": "mail",
            "taskqueue.server.night.concurrent_limit": 2,
            "taskqueue.csrf_exempt": "false",
        }
    )
    assert [queue.queue for queue in found.queues] == ["mail", "a.b"]
    assert [(server.name, server.queue, server.concurrent_limit) for server in found.servers] == [("night", "mail", 2)]


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("taskqueue", "there are: taskqueue.queue.NAME.OPTION, taskqueue.server.NAME.OPTION, taskqueue.csrf_exempt"),
        ("taskqueue.zzz", "there are: taskqueue.queue.NAME.OPTION"),
        ("taskqueue.queue", "there is taskqueue.queue.NAME.OPTION"),
        ("taskqueue.queue.type", "there is taskqueue.queue.NAME.OPTION"),
        ("taskqueue.queues.mail.type", "did you mean taskqueue.queue.NAME.OPTION?"),
        ("taskqueue.sever.mail.lease", "did you mean taskqueue.server.NAME.OPTION?"),
        ("taskqueue.csrf_exemt", "did you mean taskqueue.csrf_exempt?"),
        ("taskqueues.queue.mail.type", "did you mean taskqueue.queue.mail.type?"),
        ("task_queue.server.mail.lease", "did you mean taskqueue.server.mail.lease?"),
    ],
)
def test_a_setting_that_is_none_is_an_error_with_the_near_one(key: str, expected: str) -> None:
    error = error_of(read_settings, {key: "hunter2"}, "development.ini")
    assert error.startswith(f"development.ini: {key}: is not a setting; {expected}")
    assert "hunter2" not in error


def test_the_setting_of_the_pyramid_door_has_its_type_too() -> None:
    assert error_of(read_settings, {"taskqueue.csrf_exempt": "maybe"}) == (
        "settings: taskqueue.csrf_exempt: takes true or false, not 'maybe'"
    )
    assert read_settings({"taskqueue.csrf_exempt": True}).is_default


def test_settings_of_an_application_count_where_there_are_no_sections(site: Any) -> None:
    content = (
        "[DEFAULT]\ntaskqueue.queue.global.type = leaks\n"
        "[app:main]\nother = 100%\ntaskqueue.queue.mail.type = sqlite\ntaskqueue.queue.mail.path = %(here)s/x.db\n"
    )
    found = site(content)
    assert [queue.queue for queue in found.queues] == ["mail"]
    assert path_of(found).endswith("/x.db")
    assert found.source.endswith("site.ini")


def test_settings_and_sections_in_one_file_are_an_error(site: Any) -> None:
    content = "[app:main]\ntaskqueue.queue.mail.type = sqlite\ntaskqueue.queue.mail.path = x.db\n"
    assert error_of(site, content + "[taskqueue:big]\ntype=sqlite\npath=x\n") == (
        "site.ini: [app:main] has settings taskqueue.queue.… or taskqueue.server.…, "
        "and this file has sections [taskqueue…], too; keep one of them"
    )
    csrf = "[app:main]\ntaskqueue.csrf_exempt = false\n[taskqueue:big]\ntype=sqlite\npath=x\n"
    assert [queue.queue for queue in site(csrf).queues] == ["big"]


def test_an_error_in_settings_of_an_application_names_file_and_section(site: Any) -> None:
    error = error_of(site, "[app:main]\ntaskqueue.server.x.lease = soon\n")
    assert error.startswith("site.ini: [app:main]: taskqueue.server.x.lease: takes a duration")


@pytest.mark.parametrize("sections", ["", SQLITE])
def test_a_misspelt_setting_of_an_application_is_an_error_for_all_readers(site: Any, sections: str) -> None:
    error = error_of(site, "[app:main]\ntaskqueues.server.default.queue = default\n" + sections)
    assert error == (
        "site.ini: [app:main]: taskqueues.server.default.queue: is not a setting; "
        "did you mean taskqueue.server.default.queue?"
    )
    error = error_of(site, "[app:main]\ntaskqueue.zzz = 1\n" + sections)
    assert error.startswith("site.ini: [app:main]: taskqueue.zzz: is not a setting; there are: ")


TWO_APPS = """
[app:one]
taskqueue.server.a.queue = default
[app:two]
taskqueue.server.b.queue = default
[app:three]
use = egg:x
[pipeline:main]
pipeline = two
"""


@pytest.mark.parametrize(
    ("app", "expected"), [("one", "a"), ("two", "b"), ("three", "default"), ("main", "b"), ("", "b")]
)
def test_the_settings_are_those_of_the_application_that_is_named(site: Any, app: str, expected: str) -> None:
    assert [server.name for server in site(TWO_APPS, app=app).servers] == [expected]


# ---- keywords ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given", ["default", ["default"], {"default": None}, {"default": "local"}, 5, {"x": [("a", 1)]}]
)
def test_keywords_that_are_no_mapping_are_an_error_that_shows_one(given: Any) -> None:
    assert error_of(read_keywords, given, None).startswith("queues: takes a mapping of names to options, such as {")
    assert error_of(read_keywords, None, given).startswith("servers: takes a mapping of names to options")


def test_keywords_are_understood() -> None:
    found = read_keywords({"mail": {"type": "sqlite", "path": Path("x")}}, {"mail": {"queue": "mail", "lease": 30}})
    assert (found.queues[0].backend_options["path"], found.servers[0].lease) == ("x", 30.0)
    assert read_keywords({}, {}).is_default


# ---- secrets -----------------------------------------------------------------------------------------------------


def test_keys_are_in_the_order_in_which_they_are_written(site: Any) -> None:
    new, old = "n" * 32, "o" * 32
    assert site(SQLITE + f"secret =\n  {new}\n  {old}\n").queues[0].secret == (new.encode(), old.encode())


def test_a_file_of_keys_is_found_from_here(site: Any, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("k" * 32)
    assert site(SQLITE + "secret_file = %(here)s/keys\n").queues[0].secret == (b"k" * 32,)


def test_nothing_that_was_understood_shows_a_key(site: Any) -> None:
    assert "hunter2" not in repr(site(SQLITE + f"secret = {'hunter2' * 5}\n"))


# ---- inert -------------------------------------------------------------------------------------------------------


def test_reading_starts_no_thread_and_makes_no_file(site: Any, tmp_path: Path) -> None:
    threads = threading.enumerate()
    site(SQLITE.replace("tasks.db", "%(here)s/var/tasks.db") + "[taskqueue-server:x]\nqueue = mail\n")
    assert threading.enumerate() == threads
    assert [each.name for each in tmp_path.iterdir()] == ["site.ini"]
