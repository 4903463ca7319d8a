"""The demo in processes of its own, with nothing to import but the package and its core dependencies."""

import json
import sys
import urllib.parse

import pytest

from taskqueue.demo.folder import original, prepare

from ..serving import Browser, Process

# The optional packages that the development environment has, and a user of the demo may not have.
PROGRAM = """
import sys
for absent in ("flask", "pyramid", "pyramid_tm", "plaster_pastedeploy", "waitress", "redis", "pytest", "hypothesis"):
    sys.modules[absent] = None
from taskqueue.demo import main
raise SystemExit(main(sys.argv[1:]))
"""


class DemoBrowser(Browser):
    """Presses the buttons of the demo."""

    def press(self, kind):
        """The id of the task, to which the answer leads; the answer is not followed."""
        status, _ = self.post("/add", kind=kind)
        assert status == 303
        return next(iter(self.tasks()))

    def tasks(self):
        """The rows of the page by task id, the newest first."""
        status, answer = self.get("/tasks.json")
        assert status == 200, answer
        return {row["id"]: row for row in json.loads(answer)["tasks"]}


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "site"


@pytest.fixture
def edit(directory):
    """Change lines of the ini file as it was written, as a user would."""

    def change(**lines):
        ini = prepare(directory).ini
        changed = []
        for line in original(ini.name).splitlines():
            name = line.partition(" = ")[0]
            changed.append(f"{name} = {lines.pop(name)}" if name in lines else line)
            if line.startswith("[taskqueue-server:") and "consume" in lines:
                changed.append(f"consume = {lines.pop('consume')}")
        assert not lines, f"the ini file has no {', '.join(lines)}"
        ini.write_text("\n".join(changed) + "\n")

    return change


@pytest.fixture
def demo(directory, tmp_path):
    """Start the demo; processes that are left are ended."""
    processes = []

    def start(*arguments, program=PROGRAM):
        process = Process(
            sys.executable,
            "-c",
            program,
            "--directory",
            directory,
            *arguments,
            cwd=tmp_path,
            env={"TMPDIR": str(tmp_path / "temporary")},
        )
        processes.append(process)
        return process

    (tmp_path / "temporary").mkdir()
    yield start
    for process in processes:
        with process:
            pass


def browser_of(process):
    """A browser at the URL that the demo prints."""
    url = urllib.parse.urlsplit(process.wait_for_line(r"http://127\.0\.0\.1:\d+/")[0])
    process.wait_for_line("Ctrl-C stops the site")
    return DemoBrowser(url.port)
