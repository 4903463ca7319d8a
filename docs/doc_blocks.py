"""Runs the code blocks of the documents, each document in a folder of its own, from top to bottom.

What a block is decides how it runs. ``python`` is executed in the document's namespace, ``pycon`` is compared as a
doctest is, ``text`` is what the Python block before it printed. ``ini`` is loaded, ``zopeconf`` is read as a
zope.conf, as is what an ``ini`` block of buildout puts into one. ``systemd`` and ``xml`` are checked, and the
commands of ``console`` are run and their output is compared; ``...`` there stands for anything, and a line ``^C``
interrupts a command that would go on. A block that has a name (``:caption: NAME``, or a comment ``.. file: NAME``
before it) is written to that file first; a Python file is imported. A block that cannot run stands behind a comment
``.. not run: WHY``.
"""

from __future__ import annotations

import configparser
import contextlib
import doctest
import importlib
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from unittest import mock
from xml.etree import ElementTree

import transaction
from paste.deploy import loadapp
from sybil import Document, Example, Region
from sybil.parsers.rest.lexers import DirectiveInCommentLexer, DirectiveLexer
from ZConfig.loader import ConfigLoader
from zope.dottedname.resolve import resolve
from Zope2.Startup.options import ZopeWSGIOptions

from taskqueue import queues
from taskqueue.configure import read_ini
from taskqueue.settings import ServerSettings
from taskqueue.wsgi import Lifecycle
from taskqueue.zope.reading import read_zope_conf
from taskqueue.zope.sections import sections_of

PATIENCE_SECONDS = 60
BENCH = "_workbench"
MARK = re.compile(r"^[ \t]*\.\. (?P<kind>not run|file): (?P<words>[^\n]+)\n\s*\Z", re.MULTILINE)
LITERAL = re.compile(r"^(?![ \t]*\.\. )[^\n]*::[ \t]*\n[ \t]*\n", re.MULTILINE)
MYAPP = """\
def main(global_config, **settings):
    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"done"]
    return application
"""
UNIT_KEYS = {
    "Unit": {"Description", "After", "Documentation"},
    "Service": {
        *("Type", "User", "Group", "WorkingDirectory", "ExecStart", "Environment", "Restart", "RestartSec", "UMask"),
        *(
            "KillSignal",
            "KillMode",
            "TimeoutStopSec",
            "NoNewPrivileges",
            "PrivateTmp",
            "ProtectSystem",
            "ReadWritePaths",
        ),
    },
    "Install": {"WantedBy"},
}


class Workbench:
    """The folder of one document, and what its blocks have left behind."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="docs-"))
        self.printed = ""
        self.status = 0
        self._before = os.getcwd()
        self._lifecycles = set(Lifecycle.all())
        self._write_distribution()
        os.chdir(self.folder)
        sys.path.insert(0, str(self.folder))

    def _write_distribution(self) -> None:
        """What ``use = egg:myapp`` needs, for the documents that have a package ``myapp``."""
        about = self.folder / "myapp-1.0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text("Metadata-Version: 2.1\nName: myapp\nVersion: 1.0\n")
        (about / "entry_points.txt").write_text("[paste.app_factory]\nmain = myapp:main\n")
        self.write("myapp/__init__.py", MYAPP)

    def clear(self) -> None:
        """Leave nothing behind: no consumer, no module, no file."""
        transaction.abort()
        for lifecycle in set(Lifecycle.all()) - self._lifecycles:
            lifecycle.installation.close()
        queues.install(None)
        os.chdir(self._before)
        sys.path.remove(str(self.folder))
        for name, module in list(sys.modules.items()):
            if str(getattr(module, "__file__", None)).startswith(str(self.folder)):
                del sys.modules[name]
        shutil.rmtree(self.folder)

    def write(self, name: str, text: str) -> Path:
        """One file of the document."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        return path

    def environment(self) -> dict[str, str]:
        """Of the commands: they find the document's modules, and the command line of this installation."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        return {**os.environ, "PATH": path, "PYTHONPATH": str(self.folder), "PYTHONUNBUFFERED": "1", "COLUMNS": "120"}


def set_up(namespace: dict[str, Any]) -> None:
    """Before the first block of a document."""
    bench = namespace[BENCH] = Workbench()
    namespace["__file__"] = str(bench.folder / "document.py")  # blocks without a name are one module


def tear_down(namespace: dict[str, Any]) -> None:
    """After the last block of a document."""
    namespace.pop(BENCH).clear()


# ---- which block is run by whom ----------------------------------------------------------------------------------


def parse(document: Document) -> Iterable[Region]:
    """All code blocks of a document, each with what runs it."""
    regions = [
        *DirectiveLexer("code-block|code|sourcecode|highlight|parsed-literal")(document),
        *DirectiveInCommentLexer("invisible-code-block")(document),
    ]
    for region in regions:
        region.lexemes |= _marks(document.text[: region.start])
        region.parsed = region.lexemes["source"]
        region.evaluator = evaluator_of(region)
        yield region
    for match in LITERAL.finditer(document.text):
        if not any(region.start <= match.start() < region.end for region in regions):
            yield Region(match.start(), match.end(), match.group().strip(), _unknown)


def evaluator_of(region: Region) -> Callable[[Example], str | None]:
    """What runs a block."""
    if "not run" in region.lexemes:
        return _left_out
    return EVALUATORS.get(str(region.lexemes["arguments"]).strip(), _unknown)


def _marks(before: str) -> dict[str, Any]:
    match = MARK.search(before)
    return {} if match is None else {match["kind"]: match["words"].strip()}


def _left_out(_example: Example) -> None:
    """It says why itself."""


def _unknown(example: Example) -> str:
    return f"nothing is known to run this block: give it one of the languages {', '.join(EVALUATORS)}\n{example.parsed}"


def _bench(example: Example) -> Workbench:
    bench: Workbench = example.namespace[BENCH]
    return bench


def _file_name(example: Example) -> str | None:
    lexemes = example.region.lexemes
    return lexemes.get("file") or lexemes["options"].get("caption")


# ---- Python ------------------------------------------------------------------------------------------------------


def run_python(example: Example) -> None:
    """Execute a block, or import the file that it is."""
    name = _file_name(example)
    if name is not None:
        _import_file(_bench(example), name, example.parsed)
        return
    lines = "\n" * (example.line + example.parsed.line_offset)  # so that a traceback names the line of the document
    code = compile(lines + example.parsed, example.path, "exec", dont_inherit=True)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(code, example.namespace)  # noqa: S102  # it is what these documents are read for
    example.namespace.pop("__builtins__", None)
    _bench(example).printed = printed.getvalue()


def _import_file(bench: Workbench, name: str, source: str) -> None:
    bench.write(name, source)
    importlib.invalidate_caches()
    if not Path(name).name.startswith(("test_", "conftest")):  # pytest imports those
        importlib.import_module(name.removesuffix(".py").removesuffix("/__init__").replace("/", "."))


def run_session(example: Example) -> str | None:
    """Compare a Python session."""
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    test = doctest.DocTestParser().get_doctest(example.parsed, example.namespace, "session", example.path, example.line)
    told: list[str] = []
    runner = doctest.DocTestRunner(optionflags=flags)
    runner.run(test, out=told.append, clear_globs=False)
    example.namespace.update(test.globs)
    example.namespace.pop("__builtins__", None)
    return "".join(told) if runner.failures else None


def compare_printed(example: Example) -> str | None:
    """Compare with what the last Python block printed; long lines may be broken."""
    return _difference(" ".join(example.parsed.split()), " ".join(_bench(example).printed.split()))


# ---- files of configuration --------------------------------------------------------------------------------------


def load_ini(example: Example) -> str | None:
    """Read the configuration in an ini file, and load its application when it has one."""
    bench = _bench(example)
    path = bench.write(_file_name(example) or "app.ini", example.parsed)
    if "[loggers]" in example.parsed:
        # In a process of its own: the log of the tests stays as it is.
        bench.status = 0
        printed = _run(bench, f"{sys.executable} -c 'import logging.config as c; c.fileConfig(\"{path.name}\")'")
        return printed if bench.status else None
    if "zope-conf-additional" in example.parsed:
        return _read_buildout(bench, example.parsed)
    configuration = read_ini(path)
    if configuration.is_default and re.search(r"^\[?taskqueue[.:-]", example.parsed, re.MULTILINE):
        return "it configures taskqueue, and nothing of it was understood"
    is_zope = "egg:Zope" in example.parsed  # it would start here, and there is one in a process
    if not is_zope and re.search(r"^\[(app|composite|pipeline):", example.parsed, re.MULTILINE):
        example.namespace["application"] = loadapp(f"config:{path}")
    return None


def load_zope_conf(example: Example) -> str | None:
    """Read a zope.conf as Zope does, and as the command line does; both understand the same."""
    bench = _bench(example)
    name = _file_name(example) or "zope.conf"
    if "%import taskqueue" in example.parsed or "<taskqueue" not in example.parsed:
        return _read_zope_conf(bench, name, example.parsed)
    return _read_zope_conf(bench, name, f"%import taskqueue\n{example.parsed}")  # a part of a file


def _read_buildout(bench: Workbench, text: str) -> str | None:
    parser = configparser.RawConfigParser()
    parser.read_string(text)
    parts = [
        parser[part]["zope-conf-additional"] for part in parser.sections() if "zope-conf-additional" in parser[part]
    ]
    folder = str(bench.folder)
    lines = re.sub(r"\$\{:_buildout_section_name_\}", "instance", "\n".join(parts))
    return _read_zope_conf(bench, "zope.conf", lines.replace("${buildout:directory}", folder))


def _read_zope_conf(bench: Workbench, name: str, text: str) -> str | None:
    given = f"%define INSTANCE {bench.folder}\ninstancehome $INSTANCE\n{text}"
    if "<zodb_db" not in given:
        given += "\n<zodb_db main>\n  <mappingstorage/>\n  mount-point /\n</zodb_db>\n"
    path = bench.write(name, given)
    (bench.folder / "var").mkdir(exist_ok=True)
    options = ZopeWSGIOptions()
    options.load_schema()
    environment = dict.fromkeys(re.findall(r"\$\((\w+)\)", text), "of the environment")
    with mock.patch.dict(os.environ, environment):
        root, _handlers = ConfigLoader(options.schema).loadURL(str(path))
        sections = sections_of(root)
        if sections is None:
            return "nothing of it was understood" if "<taskqueue" in text else None
        return None if sections.understand() == read_zope_conf(path) else "the command line understands something else"


def check_zcml(example: Example) -> str | None:
    """Check that a piece of ZCML can be parsed, and that what it names of this package is there."""
    for element in ElementTree.fromstring(example.parsed).iter():  # noqa: S314  # it is of these documents
        for value in element.attrib.values():
            if value.partition(".")[0] == "taskqueue":
                resolve(value)
    return None


def check_unit(example: Example) -> str | None:
    """Check a systemd unit: sections, keys, its command, and that systemd is more patient than the consumers are."""
    unit = configparser.RawConfigParser(strict=False, delimiters=("=",), comment_prefixes=("#", ";"))
    unit.optionxform = str  # type: ignore[assignment,method-assign]  # the documented way to keep the case
    unit.read_string(example.parsed)
    if unit.sections() != list(UNIT_KEYS):
        return f"the sections are {unit.sections()}"
    for section, known in UNIT_KEYS.items():
        unknown = set(unit[section]) - known
        if unknown:
            return f"[{section}] has {', '.join(sorted(unknown))}"
    if not re.fullmatch(r"/\S+/taskqueue serve /\S+\.ini", unit["Service"]["ExecStart"]):
        return "ExecStart does not serve"
    if float(unit["Service"]["TimeoutStopSec"]) <= ServerSettings().grace:
        return "TimeoutStopSec is shorter than the grace"
    return None


# ---- commands ----------------------------------------------------------------------------------------------------


def run_console(example: Example) -> str | None:
    """Run the commands of a terminal session one by one, and compare what they print.

    A command must succeed, unless the next one is ``echo $?``.
    """
    bench = _bench(example)
    steps = re.split(r"^\$ ", example.parsed, flags=re.MULTILINE)
    if steps[0].strip():
        return "a session begins with '$ '"
    for index, step in enumerate(steps[1:], start=1):
        command, expected = _command_and_output(step)
        if "\n^C\n" in f"\n{expected}\n":
            printed = _run_until_interrupted(bench, command, expected)
        else:
            printed = _run(bench, command)
        difference = _difference(expected, printed)
        if difference:
            return f"$ {command}\n{difference}"
        if bench.status and not (index + 1 < len(steps) and steps[index + 1].startswith("echo $?")):
            return f"$ {command}\nended with status {bench.status}, and printed\n{printed}"
    return None


def _command_and_output(step: str) -> tuple[str, str]:
    lines = step.splitlines()
    count = 1
    while lines[count - 1].endswith("\\"):
        count += 1
    return "\n".join(lines[:count]), "\n".join(lines[count:])


def _run(bench: Workbench, command: str) -> str:
    done = subprocess.run(  # noqa: S603  # the commands are those of the documents
        ["/bin/bash", "-c", f"(exit {bench.status})\n{command}"],
        cwd=bench.folder,
        env=bench.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    bench.status = done.returncode if done.returncode >= 0 else 128 - done.returncode  # as a shell tells a signal
    return done.stdout


def _run_until_interrupted(bench: Workbench, command: str, expected: str) -> str:
    """Run a command that goes on, interrupt it when it has printed what stands before the ``^C``."""
    before = re.compile(_pattern(expected.partition("^C")[0]))
    printed: list[str] = []
    changed = threading.Condition()

    def read() -> None:
        for line in process.stdout or ():
            with changed:
                printed.append(line)
                changed.notify_all()

    process = subprocess.Popen(  # noqa: S603  # the same
        ["/bin/bash", "-c", f"exec {command}"],
        cwd=bench.folder,
        env=bench.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        reader = threading.Thread(target=read)
        reader.start()
        with changed:
            changed.wait_for(lambda: before.match(_squeezed("".join(printed))), PATIENCE_SECONDS)
            count = len(printed)
        process.send_signal(signal.SIGINT)
        process.wait(PATIENCE_SECONDS)
        reader.join(PATIENCE_SECONDS)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    bench.status = 0
    return "".join([*printed[:count], "^C\n", *printed[count:]])


# ---- comparing ---------------------------------------------------------------------------------------------------


def _difference(expected: str, printed: str) -> str | None:
    """What to tell when the output is not the expected one."""
    if re.fullmatch(_pattern(expected), _squeezed(printed)):
        return None
    return f"expected:\n{expected}\nprinted:\n{printed}"


def _pattern(expected: str) -> str:
    """Blanks are one blank; ``...`` is anything in a line, and as a line any number of them."""
    lines = _squeezed(expected).splitlines(keepends=True)
    return "".join(
        r"(?:[^\n]*\n)*?" if line == "...\n" else r"[^\n]*?".join(map(re.escape, line.split("..."))) for line in lines
    )


def _squeezed(text: str) -> str:
    lines = (re.sub(r"[ \t]+", " ", line).strip() for line in text.strip().splitlines())
    return "".join(f"{line}\n" for line in lines)


EVALUATORS: dict[str, Callable[[Example], str | None]] = {
    "python": run_python,
    "pycon": run_session,
    "text": compare_printed,
    "ini": load_ini,
    "zopeconf": load_zope_conf,
    "xml": check_zcml,
    "systemd": check_unit,
    "console": run_console,
}
