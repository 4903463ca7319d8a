from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from paste.deploy import loadapp

from taskqueue import notices, queues
from taskqueue.errors import ConfigurationError
from taskqueue.paste import filter_app_factory, transaction_filter_app_factory
from taskqueue.transactions import TransactionMiddleware
from taskqueue.wsgi import TaskQueueFilter

SITE = """
[DEFAULT]
var = /srv/from-default
[app:main]
paste.app_factory = tests.test_paste:app_factory
filter-with = taskqueue
[filter:taskqueue]
use = egg:wsgi-taskqueue
filter-with = transaction
[filter:transaction]
use = egg:wsgi-taskqueue#transaction
[taskqueue:mail]
type = sqlite
path = %(var)s/%(name)s.db
[taskqueue-server:mail]
queue = mail
consume = no
"""


def application(_environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [])
    return [b"served"]


def app_factory(_global_conf: Any, **_local_conf: Any) -> Any:
    return application


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(notices, "_listeners", [])
    before = queues._Installed.queues
    yield
    queues.install(before)


def test_the_filter_reads_the_sections_of_the_file_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "site.ini").write_text(SITE)
    app = loadapp(f"config:{tmp_path}/site.ini", global_conf={"name": "given"})
    assert isinstance(app, TransactionMiddleware)
    assert isinstance(app.app, TaskQueueFilter)
    installation = app.app.installation
    assert list(installation.queues) == ["mail"]
    assert installation.configuration.queues[0].backend_options["path"] == "/srv/from-default/given.db"
    assert queues.installed() is installation.queues


def test_what_paste_sets_for_the_filter_is_not_taken_for_an_option(tmp_path: Path) -> None:
    content = SITE.replace("use = egg:wsgi-taskqueue\n", "use = egg:wsgi-taskqueue\nset debug = true\n")
    (tmp_path / "site.ini").write_text(content)
    assert loadapp(f"config:{tmp_path}/site.ini", global_conf={"name": "x"})


def test_without_a_file_there_is_the_default() -> None:
    app = filter_app_factory(application, {})
    assert app.installation.configuration.is_default


def test_the_transaction_filter_wraps_the_application() -> None:
    app = transaction_filter_app_factory(application, {})
    assert isinstance(app, TransactionMiddleware)
    assert app.app is application


FACTORIES = [filter_app_factory, transaction_filter_app_factory]


@pytest.mark.parametrize("factory", FACTORIES)
def test_the_filters_have_no_options(factory: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        factory(application, {"__file__": "/etc/site.ini"}, path="hunter2")
    assert str(caught.value).startswith("site.ini: [filter:…] path: is not an option here; ")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("factory", FACTORIES)
@pytest.mark.parametrize("script", ["pserve", "pshell", "taskqueue"])
def test_a_script_that_loads_a_wrong_configuration_ends_with_one_line(
    factory: Any, script: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        factory(application, {"__file__": "/etc/site.ini", "__script__": script}, path="x")
    assert caught.value.code == 2
    written = capsys.readouterr()
    assert written.out == ""
    assert len(written.err.splitlines()) == 1
    assert written.err.startswith("taskqueue: site.ini: [filter:…] path: is not an option")


def test_another_program_gets_the_error_itself(tmp_path: Path) -> None:
    (tmp_path / "site.ini").write_text(SITE.replace("consume = no", "consume = perhaps"))
    with pytest.raises(ConfigurationError, match=r"\[taskqueue-server:mail\] consume: takes one of: auto, yes, no"):
        loadapp(f"config:{tmp_path}/site.ini", global_conf={"name": "x"})
