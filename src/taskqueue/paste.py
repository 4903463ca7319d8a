"""The PasteDeploy door: ``use = egg:wsgi-taskqueue`` and ``use = egg:wsgi-taskqueue#transaction`` in an ini file.

The filter reads the sections ``[taskqueue:NAME]`` and ``[taskqueue-server:NAME]`` of the file that names it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import PurePath
from typing import Any

from .configure import Configuration, read_ini, read_keywords
from .errors import ConfigurationError
from .wsgi import Application, TaskQueueFilter, TransactionMiddleware


def filter_app_factory(app: Application, global_conf: Mapping[str, str], **local_conf: Any) -> TaskQueueFilter:
    """``egg:wsgi-taskqueue``: the filter, configured by the sections of its ini file."""
    program = global_conf.get("__script__", "")
    with _told_in_one_line(program):
        return TaskQueueFilter(app, configuration=_read(global_conf, local_conf), program=program)


def transaction_filter_app_factory(
    app: Application, global_conf: Mapping[str, str], **local_conf: Any
) -> TransactionMiddleware:
    """``egg:wsgi-taskqueue#transaction``: the transaction middleware; it has no options."""
    with _told_in_one_line(global_conf.get("__script__", "")):
        _refuse_options(global_conf, local_conf, "the transaction filter has no options")
        return TransactionMiddleware(app)


@contextmanager
def _told_in_one_line(program: str) -> Iterator[None]:
    """Leave with exit status 2, where a script of Pyramid's would print a traceback over the one line that matters."""
    try:
        yield
    except ConfigurationError as error:
        if not program:
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
