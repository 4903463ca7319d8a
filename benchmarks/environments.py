"""The environments of the peers: each in a folder of its own below ``.venv/peers``, made when it is missing or old."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from .processes import ROOT

REQUIREMENTS = Path(__file__).parent / "peers" / "requirements"
FOLDER = ROOT / ".venv" / "peers"
INSTALL_SECONDS = 600.0


class MissingError(Exception):
    """There is no such environment; its text says why."""


def python_of(name: str) -> str:
    """The interpreter of a peer's environment, which is made if need be. Raises MissingError."""
    folder, requirements = FOLDER / name, REQUIREMENTS / f"{name}.txt"
    python, ready = folder / "bin" / "python", folder / ".ready"
    if not (ready.exists() and ready.read_bytes() == requirements.read_bytes()):
        _run(sys.executable, "-m", "venv", "--clear", str(folder))
        pip = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check")
        _run(str(python), *pip, "-r", str(requirements))
        ready.write_bytes(requirements.read_bytes())
    return str(python)


def version_of(name: str) -> str:
    """The peer's version, as its environment was made."""
    lines = (REQUIREMENTS / f"{name}.txt").read_text("utf-8").splitlines()
    return dict(line.split("==") for line in lines)[name]


def _run(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MissingError(f"{type(error).__name__}: {command[0]}") from None
    if done.returncode:
        last = [line for line in done.stderr.splitlines() if line.strip()][-1:]
        raise MissingError(f"{' '.join(last) or 'it ended with an error'}")
