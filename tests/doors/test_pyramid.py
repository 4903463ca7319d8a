"""What the Pyramid door does where a whole server would only be in the way."""

import pytest
from pyramid.config import Configurator
from pyramid.response import Response

from taskqueue import context, notices, queues
from taskqueue.consumer.acknowledge import Acknowledgement
from taskqueue.errors import ConfigurationError
from taskqueue.wsgi import SITE_KEY, TaskQueueFilter

from .test_transactions import call


@pytest.fixture(autouse=True)
def nothing_installed():
    yield
    queues.install(None)


def make_app(view=lambda request: Response("fine"), includes=("taskqueue.pyramid",), **settings):
    config = Configurator(settings=settings)
    for include in includes:
        config.include(include)
    config.add_route("home", "/")
    config.add_view(view, route_name="home")
    return config.make_wsgi_app()


def test_queues_in_the_settings_and_a_filter_around_it_are_an_error(tmp_path):
    settings = {"taskqueue.queue.mail.type": "sqlite", "taskqueue.queue.mail.path": str(tmp_path / "tasks.db")}
    with pytest.raises(ConfigurationError, match="configured twice"):
        TaskQueueFilter(make_app(**settings))


def test_without_settings_a_filter_around_it_is_the_one_that_counts(tmp_path):
    seen = []
    app = make_app(lambda request: Response(str(seen.append(context.active_origin().queues))))
    site = TaskQueueFilter(app, queues={"mine": {"type": "sqlite", "path": str(tmp_path / "tasks.db")}})
    assert call(site)[0] == "200 OK"
    assert [list(each) for each in seen] == [["mine"]]


def test_without_a_filter_the_settings_count():
    seen = []
    app = make_app(
        lambda request: Response(str(seen.append(list(context.active_origin().queues)))),
        **{"taskqueue.queue.mail.type": "sqlite", "taskqueue.queue.mail.path": "never-opened.db"},
    )
    assert call(app)[0] == "200 OK"
    assert seen == [["mail"]]


def test_without_both_there_is_one_local_queue():
    seen = []
    app = make_app(lambda request: Response(str(seen.append(dict(context.active_origin().queues)))))
    heard = []
    notices.listen(heard.append)
    try:
        call(app)
    finally:
        notices.unlisten(heard.append)
    assert "no taskqueue filter stands around" in "".join(notice.detail for notice in heard)
    assert {name: queue.type for name, queue in seen[0].items()} == {"default": "local"}


def test_it_can_be_included_without_pyramid_tm_and_before_it():
    assert call(make_app(includes=("taskqueue.pyramid",)))[0] == "200 OK"
    assert call(make_app(includes=("taskqueue.pyramid", "pyramid_tm")))[0] == "200 OK"


def test_a_misspelt_setting_is_named():
    with pytest.raises(ConfigurationError, match=r"taskqueue\.queue\.mail\.pth.*did you mean path"):
        make_app(**{"taskqueue.queue.mail.type": "sqlite", "taskqueue.queue.mail.pth": "x"})


@pytest.mark.parametrize(("app_iter", "body"), [([b"so", b"ld"], b"sold"), (iter([b"made while it is sent"]), b"")])
def test_who_asks_is_told_what_is_there_of_the_response_before_the_commit(app_iter, body):
    told = []
    acknowledgement = Acknowledgement(lambda _transaction, _manager, answer: told.append(answer))
    with Configurator() as config:
        config.include("pyramid_tm")
        config.include("taskqueue.pyramid")
        config.add_route("home", "/")
        config.add_view(lambda _request: Response(app_iter=app_iter, headers={"X-Own": "1"}), route_name="home")
        app = config.make_wsgi_app()
    environ = {"taskqueue.acknowledgement": acknowledgement, "taskqueue.task": "of a consumer", SITE_KEY: True}
    assert call(app, environ)[2]
    (answer,) = told
    assert (answer.status, answer.body) == (200, body)
    assert ("X-Own", "1") in answer.headers
