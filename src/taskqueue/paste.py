"""The PasteDeploy door: ``use = egg:wsgi-taskqueue`` and ``use = egg:wsgi-taskqueue#transaction`` in an ini file.

The filter reads the sections ``[taskqueue:NAME]`` and ``[taskqueue-server:NAME]`` of the file that names it. Around
Zope, and without such sections, it serves for those of zope.conf.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import PurePath
from typing import Any

from . import lifecycle
from .configure import Configuration, read_ini, read_keywords
from .errors import ConfigurationError
from .readers import refuse_both
from .wsgi import Application, TaskQueueFilter, TransactionMiddleware


def filter_app_factory(app: Application, global_conf: Mapping[str, str], **local_conf: Any) -> TaskQueueFilter:
    """``egg:wsgi-taskqueue``: the filter, configured by the sections of its ini file."""
    program = global_conf.get("__script__", "")
    with _told_in_one_line(program):
        configuration = _read(global_conf, local_conf)
        _refuse_bare_zope()
        inside = lifecycle.offered()
        if inside is not None:
            if configuration.is_default:
                return TaskQueueFilter(app, lifecycle=inside)
            refuse_both(configuration, inside.installation.configuration)
            inside.withdraw()
        return TaskQueueFilter(app, configuration=configuration, program=program)


def transaction_filter_app_factory(
    app: Application, global_conf: Mapping[str, str], **local_conf: Any
) -> TransactionMiddleware:
    """``egg:wsgi-taskqueue#transaction``: the transaction middleware; it has no options."""
    with _told_in_one_line(global_conf.get("__script__", "")):
        _refuse_options(global_conf, local_conf, "the transaction filter has no options")
        return TransactionMiddleware(app)


def _refuse_bare_zope() -> None:
    """Without our ZCML a task's request is marked by nothing, and nobody looks as whom it runs."""
    is_zope = bool(getattr(sys.modules.get("Zope2"), "_began_startup", False))
    if is_zope and lifecycle.offered() is None:
        raise ConfigurationError(
            'the ZCML of taskqueue is not loaded in this Zope: put <include package="taskqueue"/> into its site.zcml, '
            "or zcml = taskqueue into the part of the instance in buildout.cfg"
        )


@contextmanager
def _told_in_one_line(program: str) -> Iterator[None]:
    """Leave with exit status 2, where a script of Pyramid's or Zope's would print a traceback over the one line."""
    try:
        yield
    except ConfigurationError as error:
        if not program and lifecycle.running_program() != "runwsgi":
            raise
        sys.stderr.write(f"taskqueue: {error}\n")
        raise SystemExit(2) from None


def _read(global_conf: Mapping[str, str], local_conf: Mapping[str, Any]) -> Configuration:
    hint = "queues and consumers have sections of their own, [taskqueue:NAME], [taskqueue-server:NAME]"
    _refuse_options(global_conf, local_conf, hint)
    file = global_conf.get("__file__")
    if file is None:
        return read_keywords(None, None)
    variables = {key: value for key, value in global_conf.items() if key not in ("here", "__file__", "__script__")}
    return read_ini(file, variables)


def _refuse_options(global_conf: Mapping[str, str], local_conf: Mapping[str, Any], hint: str) -> None:
    for option in local_conf:
        file = PurePath(global_conf.get("__file__", "")).name or "configuration"
        raise ConfigurationError(f"{file}: [filter:…] {option}: is not an option here; {hint}")
