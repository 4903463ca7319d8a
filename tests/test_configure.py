from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from zope.interface.verify import verifyObject

from taskqueue import configure, notices, queues
from taskqueue.configure import BACKENDS, Installation, backend_options, install, read_ini, read_keywords
from taskqueue.errors import ConfigurationError
from taskqueue.interfaces import ITaskQueue
from taskqueue.notices import Event
from taskqueue.record import Keyring, decode, encode
from taskqueue.settings import BACKEND_OPTIONS

from .making_records import make_task


def error_of(call: Callable[..., Any], *arguments: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        call(*arguments)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(notices, "_listeners", [])
    before = queues._Installed.queues
    yield
    queues.install(before)


# ---- types of queues ---------------------------------------------------------------------------------------------

ONE_TYPE = """
import sys
import taskqueue.wsgi
from taskqueue.configure import Installation, read_keywords

Installation(read_keywords({"default": {"type": "local"}}, {"default": {}}))
print({"sqlite3", "redis", "psycopg"} & set(sys.modules))
"""


def test_a_process_has_in_memory_only_what_its_queues_need() -> None:
    done = subprocess.run([sys.executable, "-c", ONE_TYPE], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


TAKES = f"takes {', '.join(BACKENDS)} or the dotted path of a class"
MODULE = """
from taskqueue.backends.local import LocalQueue
from taskqueue.interfaces import TaskQueue
from taskqueue.settings import REQUIRED, Option

class Mine(LocalQueue):
    options = (Option("colour", str.upper, "RED", "a colour"), ("depth", int, 3, "a number"))
    def __init__(self, name, prefix, length_limit, colour, depth):
        super().__init__(name=name, prefix=prefix, length_limit=length_limit)
        self.given = (name, prefix, length_limit, colour, depth)

class Needy(Mine):
    options = (Option("password", int, REQUIRED, "a number", secret=True),)

class Plain(LocalQueue):
    pass

class Taken(LocalQueue):
    options = (Option("prefix", str, "x", "a prefix"),)

class Named(LocalQueue):
    options = (Option("name", str, "x", "a name"),)

class Misshapen(LocalQueue):
    options = (("colour",),)

class Lacking:
    def beat(self): ...
    options = ()

class Abstract(TaskQueue):
    def beat(self, owner, lease, timeout): ...

class Unwilling(LocalQueue):
    def __init__(self, **options):
        raise ValueError("the moon\\nis full")

class Narrow(LocalQueue):
    def __init__(self):
        pass

class OtherWords(LocalQueue):
    def beat(self):
        pass

def factory(**options):
    return LocalQueue(**options)

value = 5
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module with classes of somebody's own; its name."""
    name = "queues_of_my_own"
    (tmp_path / f"{name}.py").write_text(textwrap.dedent(MODULE))
    (tmp_path / "broken_syntax.py").write_text("def (")
    (tmp_path / "broken_import.py").write_text("raise RuntimeError('two\\nlines')")
    (tmp_path / "leaving.py").write_text("import nothing_of_this_name")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield name
    for each in (name, "broken_syntax", "broken_import", "leaving"):
        sys.modules.pop(each, None)


def read(kind: str, **options: Any) -> Any:
    return read_keywords({"mail": {"type": kind, **options}}, None)


@pytest.mark.parametrize("separator", [".", ":"])
def test_a_class_of_somebodys_own_declares_its_options_and_is_called_with_them(own: str, separator: str) -> None:
    installation = Installation(read(f"{own}{separator}Mine", colour="blue", depth="4", length_limit="9"))
    backend: Any = installation.queues["mail"].backend
    assert backend.given == ("mail", "taskqueue", 9, "BLUE", 4)
    defaults: Any = Installation(read(f"{own}.Mine")).queues["mail"].backend
    assert defaults.given == ("mail", "taskqueue", None, "RED", 3)


def test_a_class_of_somebodys_own_needs_no_options(own: str) -> None:
    assert Installation(read(f"{own}.Plain")).queues["mail"].type == f"{own}.Plain"
    assert error_of(lambda: read(f"{own}.Plain", foo=1)).startswith(
        "queues['mail']['foo']: is not an option; there are"
    )


def test_options_of_somebodys_own_are_checked_as_ours_are(own: str) -> None:
    place = "queues['mail']['{}']: "
    assert (
        error_of(lambda: read(f"{own}.Mine", colr="x"))
        == place.format("colr") + "is not an option; did you mean colour?"
    )
    assert error_of(lambda: read(f"{own}.Mine", depth="deep")).startswith(place.format("depth") + "takes ")
    assert error_of(lambda: read(f"{own}.Mine", depth=[1])).startswith(place.format("depth") + "takes ")
    assert error_of(lambda: read(f"{own}.Needy")) == place.format("password") + "is missing; it takes a number"
    secret = error_of(lambda: read(f"{own}.Needy", password="hunter2"))
    assert secret == place.format("password") + "takes a number"
    assert error_of(lambda: read(f"{own}.Mine", path="x")).endswith(
        "is an option of type sqlite, and this queue is of type " + own + ".Mine"
    )


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("lcoal", f"{TAKES}, not 'lcoal'; did you mean local?"),
        ("SQLite", "did you mean sqlite?"),
        ("nonsense", f"{TAKES}, not 'nonsense'"),
        (".relative.Class", f"{TAKES}, not '.relative.Class'"),
        ("a..B", f"{TAKES}, not 'a..B'"),
        ("no_such_module.Class", "cannot be had: ModuleNotFoundError: No module named 'no_such_module'"),
        ("queues_of_my_own.Absent", "cannot be had: AttributeError: "),
        ("queues_of_my_own.value", "takes the dotted path of a class; queues_of_my_own.value is none"),
        ("queues_of_my_own.factory", "takes the dotted path of a class; queues_of_my_own.factory is none"),
        ("broken_syntax.Class", "cannot be had: SyntaxError: "),
        ("broken_import.Class", "cannot be had: RuntimeError: two\\nlines"),
        ("leaving.Class", "cannot be had: ModuleNotFoundError: No module named 'nothing_of_this_name'"),
        ("queues_of_my_own.Lacking", "queues_of_my_own.Lacking lacks __len__, close, "),
        ("queues_of_my_own.Abstract", "queues_of_my_own.Abstract lacks __len__, close, "),
        ("queues_of_my_own.Taken", "declares an option 'prefix', which every queue has; takes another name"),
        ("queues_of_my_own.Named", "declares an option 'name', which every queue has; takes another name"),
        ("queues_of_my_own.Misshapen", "are not of the kind taskqueue.settings.Option"),
        ("builtins.dict", "builtins.dict lacks beat, "),
    ],
)
@pytest.mark.usefixtures("own")
def test_a_type_that_cannot_be_used_is_one_line_that_says_why(kind: str, expected: str) -> None:
    error = error_of(lambda: read(kind))
    assert error.startswith("queues['mail']['type']: ")
    assert expected in error


@pytest.mark.parametrize("given", [5, None, dict, ["local"]])
def test_a_type_that_is_no_text_is_one_line(given: Any) -> None:
    assert error_of(lambda: read(given)).startswith(f"queues['mail']['type']: {TAKES}, not ")


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("Unwilling", "cannot be made: the moon\\nis full"),
        ("Narrow", "cannot be made: "),
        ("OtherWords", "is not a queue: "),
    ],
)
def test_a_class_that_makes_no_queue_is_one_line_with_its_place(own: str, kind: str, expected: str) -> None:
    error = error_of(lambda: Installation(read(f"{own}.{kind}")))
    assert error.startswith(f"queues['mail']['type']: {own}.{kind} {expected}")


def test_every_type_has_its_options_and_the_other_way_round() -> None:
    assert set(BACKENDS) == set(BACKEND_OPTIONS)
    assert all(tuple(backend_options(kind)) == BACKEND_OPTIONS[kind] for kind in BACKENDS)


# ---- the installation --------------------------------------------------------------------------------------------


class FakeConsumer:
    """What an installation asks of a consumer, in the order in which it does."""

    calls: ClassVar[list[tuple[str, str]]] = []

    def __init__(self, settings: Any, queue: Any, application: Any, keeper: Any) -> None:
        self.name = settings.name
        self.queue, self.application = queue, application

    def start(self) -> None:
        self.calls.append(("start", self.name))

    def stop_claiming(self) -> None:
        self.calls.append(("stop claiming", self.name))

    def stop(self) -> None:
        self.calls.append(("stop", self.name))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    monkeypatch.setattr(FakeConsumer, "calls", [])
    monkeypatch.setattr(configure, "Consumer", FakeConsumer)
    return FakeConsumer.calls


def application(_environ: Any, _start_response: Any) -> list[bytes]:
    raise AssertionError("nothing is replayed here")


def test_every_setting_reaches_its_queue(tmp_path: Path) -> None:
    given = {
        "type": "sqlite",
        "path": str(tmp_path / "tasks.db"),
        "prefix": "site",
        "payload_limit": "2 KiB",
        "header_limit": "1 KiB",
        "length_limit": 5,
        "base_url": "https://www.example.org/",
        "secret": "k" * 32,
        "in_doubt": "discard",
        "copy_headers": "Cookie",
        "copy_remote_user": True,
    }
    queue = Installation(read_keywords({"mail": given}, None)).queues["mail"]
    assert (queue.name, queue.type, queue.payload_limit, queue.header_limit) == ("mail", "sqlite", 2048, 1024)
    assert (queue.base_url, queue.in_doubt, queue.copy_headers) == ("https://www.example.org", "discard", {"cookie"})
    assert (queue.copy_remote_user, queue.backend.name, queue.backend.prefix) == (True, "mail", "site")
    assert queue.keyring.seal("request", b"", b"") == Keyring([b"k" * 32]).seal("request", b"", b"")
    assert verifyObject(ITaskQueue, queue.backend)


def test_a_key_that_is_put_before_another_seals_and_the_older_one_still_opens() -> None:
    def keyring(secret: str) -> Keyring:
        return Installation(read_keywords({"x": {"secret": secret}}, {"x": {"queue": "x"}})).queues["x"].keyring

    old = encode(make_task(), keyring("o" * 32))
    both = keyring("n" * 32 + "\n" + "o" * 32)
    assert decode(old, both).method == "POST"
    assert decode(encode(make_task(), both), keyring("n" * 32)).method == "POST"


def test_reading_and_installing_start_no_thread_and_make_no_file(tmp_path: Path) -> None:
    file = tmp_path / "site.ini"
    file.write_text(
        "[taskqueue:mail]\ntype = sqlite\npath = %(here)s/var/tasks.db\n[taskqueue:default]\n"
        "[taskqueue-server:mail]\nqueue = mail\n[taskqueue-server:default]\n"
    )
    threads, descriptors = threading.enumerate(), os.listdir("/proc/self/fd")
    installation = install(read_ini(file))
    assert threading.enumerate() == threads
    assert os.listdir("/proc/self/fd") == descriptors
    assert [each.name for each in tmp_path.iterdir()] == ["site.ini"]
    assert queues.installed() is installation.queues
    installation.stop()
    assert [each.name for each in tmp_path.iterdir()] == ["site.ini"]


def test_starting_twice_starts_once_and_stopping_twice_stops_once(calls: list[tuple[str, str]]) -> None:
    installation = Installation(read_keywords(None, {"a": {}, "b": {}}))
    installation.stop()
    assert not installation.is_started
    installation.start(application)
    installation.start(application)
    assert installation.is_started
    assert calls == [("start", "a"), ("start", "b")]
    calls.clear()
    installation.stop()
    installation.stop()
    assert not installation.is_started
    # All stop claiming before the first is waited for.
    assert calls == [("stop claiming", "a"), ("stop claiming", "b"), ("stop", "a"), ("stop", "b")]


def test_an_installation_that_has_stopped_can_start_again(calls: list[tuple[str, str]]) -> None:
    installation = Installation(read_keywords(None, None))
    for _ in range(2):
        installation.start(application)
        installation.stop()
    assert [what for what, _name in calls].count("start") == 2


def test_many_threads_that_start_it_start_it_once(calls: list[tuple[str, str]]) -> None:
    installation = Installation(read_keywords(None, None))
    together = threading.Barrier(8)

    def start() -> None:
        together.wait(20)
        installation.start(application)

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive(), "a thread did not end within 20 s"
    assert calls == [("start", "default")]


def test_a_consumer_that_is_not_to_consume_does_not_start(calls: list[tuple[str, str]]) -> None:
    idle = Installation(read_keywords({"x": {"type": "sqlite", "path": "x"}}, {"x": {"queue": "x", "consume": "no"}}))
    idle.start(application)
    assert calls == []
    assert (idle.wants_to_consume, idle.must_consume) == (False, False)


@pytest.mark.parametrize(("consume", "expected"), [("auto", (True, False)), ("yes", (True, True))])
def test_whether_it_consumes_is_what_its_consumers_say(consume: str, expected: tuple[bool, bool]) -> None:
    installation = Installation(read_keywords(None, {"default": {"consume": consume}}))
    assert (installation.wants_to_consume, installation.must_consume) == expected


@pytest.mark.usefixtures("calls")
def test_a_local_queue_says_at_its_start_that_it_is_volatile(tmp_path: Path) -> None:
    told: list[Any] = []
    notices.listen(told.append)
    Installation(read_keywords(None, None)).start(application)
    sqlite = read_keywords({"x": {"type": "sqlite", "path": tmp_path / "x"}}, {"x": {"queue": "x"}})
    Installation(sqlite).start(application)
    assert [(notice.event, notice.queue) for notice in told] == [(Event.WARNING, "default")]
    assert "end with it" in told[0].detail


def test_a_child_that_was_forked_has_not_started_and_stops_nothing(calls: list[tuple[str, str]]) -> None:
    installation = Installation(read_keywords(None, None))
    installation.start(application)
    pid = os.fork()
    if pid == 0:
        was_started = installation.is_started
        installation.stop()
        nothing_stopped = calls == [("start", "default")]
        installation.start(application)
        started = calls == [("start", "default"), ("start", "default")] and installation.is_started
        os._exit(0 if not was_started and nothing_stopped and started else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert installation.is_started
    installation.stop()


def test_closing_stops_and_closes_what_is_open(calls: list[tuple[str, str]], tmp_path: Path) -> None:
    installation = Installation(read_keywords({"x": {"type": "sqlite", "path": tmp_path / "x"}}, {"x": {"queue": "x"}}))
    installation.start(application)
    backend = installation.queues["x"].backend
    assert backend.counts().states["ready"] == 0
    descriptors = {os.readlink(f"/proc/self/fd/{each}") for each in os.listdir("/proc/self/fd") if _is_open(each)}
    assert any(str(tmp_path) in each for each in descriptors)
    installation.close()
    installation.close()
    assert calls[-1] == ("stop", "x")
    descriptors = {os.readlink(f"/proc/self/fd/{each}") for each in os.listdir("/proc/self/fd") if _is_open(each)}
    assert not any(str(tmp_path) in each for each in descriptors)


def _is_open(descriptor: str) -> bool:
    return os.path.lexists(f"/proc/self/fd/{descriptor}")


def test_an_installation_does_not_show_its_keys() -> None:
    installation = Installation(read_keywords({"x": {"secret": "hunter2" * 5}}, {"x": {"queue": "x"}}))
    shown = repr(installation) + repr(installation.configuration) + repr(dict(installation.queues))
    assert "hunter2" not in shown
