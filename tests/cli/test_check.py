import os

import pytest

from taskqueue.backends.local import LocalQueue
from taskqueue.settings import Option

SECRET = "canary-key-0123456789abcdef0123456789abcdef"
EVERYTHING = f"""
[taskqueue:default]
type = sqlite
path = %(here)s/default.db
payload_limit = 2 MiB
length_limit = 100
base_url = https://example.org
secret = {SECRET}
in_doubt = discard
copy_headers = cookie accept
copy_remote_user = yes

[taskqueue-server:worker]
queue = default
concurrent_limit = 4
min_backoff = 250 ms
deadline = 90 min
outcomes = 302=done 4xx=retry
keep_dead = 30 d
keep_secrets = 12 h
"""


class ForeignQueue(LocalQueue):
    """A backend of somebody else: it may forget things, and may raise anything."""

    options = (Option("api_token", str, "", "a password"), Option("mood", str, "good", "good or bad"))
    capabilities = frozenset({"durable", "shared"})

    def __init__(self, *, api_token, mood, **options):
        super().__init__(**options)
        self._mood = mood

    def counts(self):
        if self._mood == "bad":
            raise RuntimeError("out\nof order")
        return super().counts()


def options_shown(out, title):
    """The lines of one section: option to its mark and value."""
    section = out.partition(f"\n{title}\n")[2].partition("\n\n")[0]
    return {line[4:].split(None, 1)[0]: (line[2], line[4:].split(None, 1)[1]) for line in section.splitlines()}


def test_every_option_is_shown_and_those_that_differ_are_marked(run, make_site):
    ran = run("check", make_site(EVERYTHING).ini)
    assert (ran.status, ran.err) == (0, "")
    queue = options_shown(ran.out, "queue default")
    assert queue["type"] == ("*", "sqlite")
    assert queue["prefix"] == (" ", "taskqueue")
    assert queue["payload_limit"] == ("*", "2 MiB")
    assert queue["header_limit"] == (" ", "32 KiB")
    assert queue["length_limit"] == ("*", "100")
    assert queue["copy_headers"] == ("*", "accept cookie")
    assert queue["copy_remote_user"] == ("*", "true")
    server = options_shown(ran.out, "consumer worker")
    assert server["queue"] == (" ", "default")
    assert server["concurrent_limit"] == ("*", "4")
    assert server["min_backoff"] == ("*", "250 ms")
    assert server["max_backoff"] == (" ", "1 h")
    assert server["deadline"] == ("*", "90 min")
    assert server["outcomes"] == ("*", "302=done 4xx=retry")
    assert server["keep_dead"] == ("*", "30 d")
    assert server["keep_secrets"] == ("*", "12 h")


def test_what_is_not_set_is_told_as_one_would_write_it(run, make_site):
    ran = run("check", make_site().ini)
    queue = options_shown(ran.out, "queue default (default of add)")
    assert (queue["length_limit"], queue["copy_headers"], queue["secret"]) == (
        (" ", "none"),
        (" ", "all"),
        (" ", "(not set)"),
    )
    server = options_shown(ran.out, "consumer default")
    assert (server["keep_dead"], server["outcomes"]) == ((" ", "for ever"), (" ", "none"))


@pytest.mark.parametrize("option", ["secret", "secret_file"])
def test_keys_are_told_as_set(run, make_site, tmp_path, option):
    (tmp_path / "keys").write_text(SECRET)
    value = SECRET if option == "secret" else "%(here)s/keys"
    site = make_site(EVERYTHING.replace(f"secret = {SECRET}", f"{option} = {value}"))
    text, document = run("check", site.ini), run("check", site.ini, "--json")
    assert options_shown(text.out, "queue default")["secret"] == ("*", "(set)")
    assert document.document["queues"][0]["options"]["secret"] == "(set)"
    assert SECRET not in text.out + document.out


def test_json_has_values_that_scripts_can_count_with(run, make_site):
    document = run("check", make_site(EVERYTHING).ini, "--json").document
    (queue,), (consumer,) = document["queues"], document["consumers"]
    assert queue["options"]["payload_limit"] == 2 * 1024 * 1024
    assert queue["options"]["copy_headers"] == ["accept", "cookie"]
    assert queue["changed"][:2] == ["type", "path"]
    assert (queue["reachable"], queue["error"]) == (True, None)
    assert (consumer["name"], consumer["options"]["deadline"]) == ("worker", 5400.0)
    assert consumer["options"]["outcomes"] == {"302": "done", "4xx": "retry"}
    assert document["warnings"] == []


def test_a_store_that_is_there_is_reachable(run, site):
    ran = run("check", site.ini)
    assert ran.status == 0
    assert ran.out.count("    reachable, answered in ") == 2


def test_the_queue_that_add_uses_when_none_is_named_is_marked_where_there_are_several(run, make_site):
    assert run("check", make_site().ini).out.count("(default of add)") == 1
    assert "default of add" not in run("check", make_site(EVERYTHING).ini).out


def test_the_time_of_an_answer_is_that_of_a_second_question(run, make_site, monkeypatch):
    asked, clock = [], iter((0.0, 0.007))
    monkeypatch.setattr(ForeignQueue, "counts", lambda _queue: asked.append(True))
    monkeypatch.setattr("taskqueue.cli.check.time.monotonic", lambda: len(asked) and next(clock))
    site = make_site(f"[taskqueue:default]\ntype = {__name__}.ForeignQueue\n")
    assert "reachable, answered in 7 ms" in run("check", site.ini).out
    assert len(asked) == 2


def test_an_empty_file_that_is_there_stays_empty(run, make_site):
    site = make_site()
    file = site.folder / "default.db"
    file.touch()
    before = sorted(site.folder.iterdir())
    ran = run("check", site.ini)
    assert (ran.status, "there are no tables yet" in ran.out) == (0, True)
    assert (file.stat().st_size, sorted(site.folder.iterdir())) == (0, before)


def test_a_file_that_will_be_made_is_as_it_should_be_and_is_not_made(run, make_site):
    site = make_site()
    ran = run("check", site.ini)
    assert ran.status == 0
    assert f"{site.folder}/default.db is not there yet; it will be made" in ran.out
    assert [file.name for file in site.folder.iterdir()] == ["app.ini"]


def test_a_file_that_cannot_be_made_is_status_1(run, make_site):
    site = make_site(EVERYTHING.replace("%(here)s/default.db", "%(here)s/app.ini/default.db"))
    ran = run("check", site.ini)
    assert ran.status == 1
    assert f"not reachable: {site.folder}/app.ini/default.db is not there" in ran.out


@pytest.mark.skipif(not os.path.exists("/proc/self"), reason="there is no /proc")
def test_a_file_where_there_are_no_files_is_status_1(run, make_site):
    site = make_site("[taskqueue:default]\ntype = sqlite\npath = /proc/tasks.db\n")
    ran = run("check", site.ini)
    assert (ran.status, ran.err) == (1, "")
    reason = "/proc/tasks.db is not there, and /proc lies on a file system that holds no files; give another path"
    assert f"    not reachable: {reason}\n" in ran.out
    (queue,) = run("check", site.ini, "--json").document["queues"]
    assert (queue["reachable"], queue["error"]) == (False, reason)


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_file_in_a_folder_that_cannot_be_written_to_is_status_1(run, make_site):
    site = make_site()
    site.folder.chmod(0o500)
    assert run("check", site.ini).status == 1
    site.folder.chmod(0o700)


def test_a_store_that_is_none_is_status_1(run, make_site):
    site = make_site()
    (site.folder / "mail.db").write_text("not a database")
    ran = run("check", site.ini, "--json")
    assert ran.status == 1
    reachable = {queue["name"]: queue["reachable"] for queue in ran.document["queues"]}
    assert reachable == {"default": True, "mail": False}


def test_a_local_queue_is_as_it_should_be_and_warned_of(run, local_ini):
    ran = run("check", local_ini)
    assert ran.status == 0
    assert "in the memory of the process that serves" in ran.out
    assert "warning: queue 'default': it is local, and its tasks end with the process" in ran.out


def test_nothing_configured_is_told(run, tmp_path):
    (tmp_path / "app.ini").write_text("[app:main]\nuse = egg:myapp\n")
    ran = run("check", tmp_path / "app.ini")
    assert ran.status == 0
    assert "warning: nothing is configured: one local queue and one consumer" in ran.out


@pytest.mark.parametrize(
    ("old", "new", "warning"),
    [
        (
            "[taskqueue-server:mail]\nqueue = mail\n",
            "",
            "queue 'mail': nobody consumes it here; add [taskqueue-server:mail]",
        ),
        (
            "queue = mail\n",
            "queue = mail\nconsume = no\n",
            "queue 'mail': nobody consumes it here, as its consumers say",
        ),
    ],
)
def test_a_queue_that_nobody_consumes_is_warned_of(run, make_site, old, new, warning):
    site = make_site()
    site.ini.write_text(site.ini.read_text().replace(old, new))
    ran = run("check", site.ini, "--json")
    assert ran.status == 0
    (found,) = ran.document["warnings"]
    assert found.startswith(warning)


@pytest.mark.parametrize(
    ("text", "cure"),
    [
        ("[taskqueue:default]\ntype = sqlite\npath = q.db\n", "[taskqueue-server:default]"),
        ("[taskqueue:mail]\ntype = sqlite\npath = q.db\n", "[taskqueue-server:mail] with queue = mail"),
        (
            "[app:main]\ntaskqueue.queue.mail.type = sqlite\ntaskqueue.queue.mail.path = %(here)s/q.db\n",
            "taskqueue.server.mail.queue = mail",
        ),
    ],
)
def test_the_consumer_to_add_is_written_as_the_queue_is(run, make_site, text, cure):
    (warning, *_others) = run("check", make_site(text).ini, "--json").document["warnings"]
    assert f": nobody consumes it here; add {cure}, or serve it elsewhere" in warning


def test_the_consumer_of_a_queue_in_code_is_to_be_added_in_code(run, tmp_path, monkeypatch):
    (tmp_path / "quiet_shop.py").write_text(
        "from taskqueue.wsgi import TaskQueueFilter\n"
        f"app = TaskQueueFilter(None, queues={{'default': {{'type': 'sqlite', 'path': {str(tmp_path / 'q.db')!r}}}}})\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    (warning,) = run("check", "quiet_shop:app", "--json").document["warnings"]
    assert "; add servers={'default': {'queue': 'default'}}, or serve it elsewhere" in warning


def test_a_secret_that_a_foreign_backend_does_not_call_one_is_not_shown(run, make_site):
    site = make_site(f"[taskqueue:default]\ntype = {__name__}.ForeignQueue\napi_token = canary\n")
    for ran in (run("check", site.ini), run("check", site.ini, "--json")):
        assert "(set)" in ran.out
        assert "canary" not in ran.out


def test_whatever_a_foreign_backend_raises_is_one_line_and_status_1(run, make_site):
    site = make_site(f"[taskqueue:default]\ntype = {__name__}.ForeignQueue\nmood = bad\n")
    ran = run("check", site.ini)
    assert ran.status == 1
    assert "    not reachable: out\\nof order\n" in ran.out


@pytest.mark.parametrize("written", ["var/tasks.db", "%(here)s/var/tasks.db"])
def test_the_path_of_a_file_is_shown_in_full(run, make_site, monkeypatch, written):
    site = make_site(f"[taskqueue:default]\ntype = sqlite\npath = {written}\n")
    monkeypatch.chdir(site.folder)
    full = str(site.folder / "var" / "tasks.db")
    assert options_shown(run("check", "app.ini").out, "queue default")["path"] == ("*", full)
    assert run("check", "app.ini", "--json").document["queues"][0]["options"]["path"] == full


def test_warnings_are_status_1_where_they_are_to_count(run, local_ini, site):
    ran = run("check", local_ini, "--strict")
    assert (ran.status, ran.err) == (1, "")
    assert "warning: queue 'default': it is local, and its tasks end with the process" in ran.out
    assert run("check", local_ini, "--strict", "--json").status == 1
    assert run("check", site.ini, "--strict").status == 0


def test_what_an_application_would_lack_is_warned_of(run, make_site):
    site = make_site()
    site.ini.write_text(site.ini.read_text() + "[app:main]\nuse = egg:shop\n")
    text, document = run("check", site.ini), run("check", site.ini, "--json").document
    (warning,) = document["warnings"]
    assert warning.startswith("app.ini: nothing in this file uses the taskqueue filter")
    assert text.status == 0
    assert f"warning: {warning}" in text.out.splitlines()


@pytest.mark.parametrize("verb", ["check", "serve"])
@pytest.mark.parametrize(
    ("application", "line"),
    [
        ("filter-with = taks\n", "[app:main] filter-with: there is no section [filter:taks] in this file"),
        (
            "filter-with = egg:taskqueue\n",
            "[app:main] filter-with: egg:taskqueue is something else; did you mean egg:wsgi-taskqueue?",
        ),
    ],
)
def test_an_application_that_cannot_be_loaded_is_status_2(run, make_site, verb, application, line):
    site = make_site()
    site.ini.write_text(site.ini.read_text() + "[app:main]\nuse = egg:shop\n" + application)
    ran = run(verb, site.ini)
    assert (ran.status, ran.out, ran.complaint) == (2, "", f"app.ini: {line}")


def test_a_witness_that_cannot_be_had_keeps_the_site_from_starting(run, make_site):
    ran = run(
        "check",
        make_site("[taskqueue:default]\ntype = sqlite\npath = %(here)s/q.db\nwitness = no_such_module:witness\n").ini,
    )
    assert ran.status == 2
    assert "[taskqueue:default] witness: no_such_module:witness cannot be had: ModuleNotFoundError" in ran.complaint


def test_a_queue_in_the_applications_database_needs_the_applications_sessions(run, make_site):
    url = "postgresql://127.0.0.1:1/nowhere"
    ran = run("check", make_site(f"[taskqueue:default]\ntype = postgresql\nurl = {url}\nshared = true\n").ini)
    assert ran.status == 1
    assert "warning: queue 'default': shared = true needs the application's session factory" in ran.out


# ---- what an add would meet ----------------------------------------------------------------------------------------


def test_a_store_that_takes_no_tasks_is_reached_and_status_1(run, make_site):
    site = make_site(EVERYTHING.replace("length_limit = 100", "length_limit = 1"))
    site.backend().counts()
    assert run("check", site.ini).status == 0
    site.publish()
    ran = run("check", site.ini)
    told = "it is full: 1 task waits, and its length_limit is 1, so add is refused; "
    assert ran.status == 1
    assert f"reachable, but {told}" in ran.out
    (queue,) = run("check", site.ini, "--json").document["queues"]
    assert (queue["reachable"], queue["error"]) == (True, None)
    assert queue["add_error"].startswith(told)


def test_a_store_that_is_not_there_yet_is_not_made_to_see_whether_it_takes_tasks(run, make_site):
    site = make_site()
    assert run("check", site.ini).status == 0
    assert not (site.folder / "default.db").exists()
