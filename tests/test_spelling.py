"""What a message tells to write is written as the configuration is, whichever door it came in by."""

import pytest

from taskqueue import spelling
from taskqueue.configure import read_keywords
from taskqueue.errors import ConfigurationError
from taskqueue.readers import read_settings
from taskqueue.settings import BACKEND_OPTIONS


@pytest.mark.parametrize(
    ("place", "option", "consumer", "consumers"),
    [
        ("", "type = sqlite", "[taskqueue-server:mail] with queue = mail", "[taskqueue-server:NAME]"),
        (
            "app.ini: [taskqueue:<taskqueue>] type",
            "type = sqlite",
            "[taskqueue-server:mail] with queue = mail",
            "[taskqueue-server:NAME]",
        ),
        (
            "zope.conf: line 3: <taskqueue mail> type",
            "type sqlite",
            "<taskqueue-server> with queue mail",
            "<taskqueue-server>",
        ),
        (
            "app.ini: [app:main]: taskqueue.queue.mail.type",
            "type = sqlite",
            "taskqueue.server.mail.queue = mail",
            "taskqueue.server.NAME.queue",
        ),
        ("queues['mail']['type']", "'type': 'sqlite'", "servers={'mail': {'queue': 'mail'}}", "servers="),
    ],
)
def test_each_place_has_its_own_spelling(place, option, consumer, consumers):
    assert spelling.option(place, "type", "sqlite") == option
    assert spelling.consumer(place, "mail") == consumer
    assert spelling.consumers(place) == consumers


@pytest.mark.parametrize(
    ("place", "consumer"), [("", "[taskqueue-server:default]"), ("<taskqueue> type", "<taskqueue-server />")]
)
def test_the_consumer_of_the_default_queue_needs_no_options(place, consumer):
    assert spelling.consumer(place, "default") == consumer


def error_of(read, *arguments):
    with pytest.raises(ConfigurationError) as caught:
        read(*arguments)
    return str(caught.value)


def test_what_to_add_is_written_as_what_it_is_added_to():
    assert error_of(read_keywords, {"x": {"path": "tasks.db"}}, {}).endswith("so it is local; add 'type': 'sqlite'")
    assert error_of(read_keywords, {"x": {}}, {}).endswith(": add servers={'x': {'queue': 'x'}}, or use another type")
    error = error_of(
        read_settings, {"taskqueue.queue.x.path": "tasks.db"}, lambda kind: BACKEND_OPTIONS[kind], "app.ini"
    )
    assert error.endswith("so it is local; add type = sqlite")
