import subprocess
import sys

import pytest

from taskqueue.settings import QueueSettings, ServerSettings

from .reading import READERS, write


@pytest.fixture(params=READERS)
def read(request):
    return READERS[request.param]


def queues(configuration):
    return {queue.queue: queue for queue in configuration.queues}


def servers(configuration):
    return {server.name: server for server in configuration.servers}


def test_sections_without_a_name_and_without_options_are_the_defaults(read, tmp_path):
    configuration = read(write(tmp_path, "%import taskqueue\n<taskqueue />\n<taskqueue-server />\n"))
    assert configuration.queues == (QueueSettings(),)
    assert configuration.servers == (ServerSettings(),)
    assert not configuration.is_default


def test_consumers_of_different_queues_may_all_have_the_name_of_the_instance(read, tmp_path):
    text = "%import taskqueue\n" + "".join(
        f"<taskqueue {queue}>\n</taskqueue>\n<taskqueue-server>\nqueue {queue}\nname instance\n</taskqueue-server>\n"
        for queue in ("default", "mailhost")
    )
    configuration = read(write(tmp_path, text))
    assert [(server.name, server.queue) for server in configuration.servers] == [
        ("instance", "default"),
        ("instance", "mailhost"),
    ]


def test_the_forms_of_the_predecessors_documentation_are_understood(read, tmp_path, monkeypatch):
    monkeypatch.setenv("SOCKET_FOLDER", "/srv/var")
    configuration = read(
        write(
            tmp_path,
            """\
            %import taskqueue
            <taskqueue />
            <taskqueue-server />

            <taskqueue>
              queue mailhost
              type redis
              unix_socket_path $(SOCKET_FOLDER)/redis.sock
            </taskqueue>
            <taskqueue-server>
              queue mailhost
              name instance
            </taskqueue-server>
            """,
        )
    )
    assert set(queues(configuration)) == {"default", "mailhost"}
    assert queues(configuration)["mailhost"].backend_options["unix_socket_path"] == "/srv/var/redis.sock"
    assert {name: server.queue for name, server in servers(configuration).items()} == {
        "default": "default",
        "instance": "mailhost",
    }


def test_a_sections_name_is_what_its_queue_or_consumer_is_called(read, tmp_path):
    text = """\
        %import taskqueue
        <taskqueue main/>
        <taskqueue-server main>
          QUEUE main
        </taskqueue-server>
        <taskqueue Letters>
          type sqlite
          path tasks.db
        </taskqueue>
        """
    configuration = read(write(tmp_path, text))
    assert set(queues(configuration)) == {"main", "Letters"}
    assert servers(configuration)["main"].queue == "main"


def test_a_consumers_name_that_is_an_option_wins_over_the_sections(read, tmp_path):
    text = """\
        %import taskqueue
        <taskqueue b>
          queue b
        </taskqueue>
        <taskqueue-server a>
          name c
          queue b
        </taskqueue-server>
        """
    configuration = read(write(tmp_path, text))
    assert set(queues(configuration)) == {"b"}
    assert set(servers(configuration)) == {"c"}


@pytest.mark.parametrize(
    "consumers",
    [
        "<taskqueue-server mail>\nqueue default\n</taskqueue-server>\n",  # who says so means it
        "<taskqueue-server>\nname mail\n</taskqueue-server>\n",  # the instance's name, as buildout gives it
        "<taskqueue-server mail/>\n<taskqueue-server other>\nqueue mail\n</taskqueue-server>\n",
        "<taskqueue-server mail/>\n<taskqueue-server other>\nqueue mail\nconsume no\n</taskqueue-server>\n",
    ],
)
def test_a_consumer_of_another_queue_may_have_the_name_of_one_that_is_not_forgotten(read, consumers, tmp_path):
    mail = "<taskqueue mail>\ntype sqlite\npath mail.db\n</taskqueue>\n"
    configuration = read(write(tmp_path, f"%import taskqueue\n<taskqueue />\n{mail}{consumers}"))
    assert servers(configuration)["mail"].queue == "default"


def test_a_relative_path_begins_at_the_clienthome(read, tmp_path):
    section = "%import taskqueue\n<taskqueue>\ntype sqlite\npath tasks.db\n</taskqueue>\n"
    assert read(write(tmp_path, section)).queues[0].backend_options["path"] == f"{tmp_path}/var/tasks.db"
    (tmp_path / "data").mkdir()
    moved = read(write(tmp_path, f"clienthome {tmp_path}/data\n{section}"))
    assert moved.queues[0].backend_options["path"] == f"{tmp_path}/data/tasks.db"


def test_sections_may_stand_in_an_included_file(read, tmp_path):
    (tmp_path / "queues.conf").write_text(
        "<taskqueue letters/>\n<taskqueue-server>\nqueue letters\n</taskqueue-server>\n"
    )
    assert set(queues(read(write(tmp_path, "%import taskqueue\n%include queues.conf\n")))) == {"letters"}


def test_one_file_may_be_read_twice_in_a_process(read, tmp_path):
    file = write(
        tmp_path, "%import taskqueue\n<taskqueue letters/>\n<taskqueue-server>\nqueue letters\n</taskqueue-server>\n"
    )
    assert read(file) == read(file)


def test_other_products_keep_their_rules(tmp_path):
    from ZConfig import ConfigurationError

    with pytest.raises(ConfigurationError, match="not an allowed name"):
        READERS["zope"](write(tmp_path, "%import taskqueue\n<product-config>\n</product-config>\n"))


def test_the_command_line_needs_nothing_that_others_have_written_into_the_file(tmp_path):
    text = """\
        %import no_such_package
        <environment>
          SECRET $(NO_SUCH_VARIABLE)
        </environment>
        <nonsense of somebody>
          key $(NO_SUCH_VARIABLE)
        </nonsense>
        """.replace(" of somebody", "")
    file = write(
        tmp_path, text + "%import taskqueue\n<taskqueue />\n<taskqueue-server />\n".replace("%", "        %", 1)
    )
    assert set(queues(READERS["cli"](file))) == {"default"}


@pytest.mark.process
def test_reading_imports_nothing_of_zope(tmp_path):
    file = write(tmp_path, "%import taskqueue\n<taskqueue />\n<taskqueue-server />\n")
    program = (
        "import sys; from pathlib import Path; from taskqueue.zope.reading import read_zope_conf\n"
        "read_zope_conf(Path(sys.argv[1]))\n"
        "print(sorted(set(sys.modules) & {'Zope2', 'OFS', 'ZPublisher', 'App', 'AccessControl', 'ZODB'}))"
    )
    ran = subprocess.run([sys.executable, "-c", program, file], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"
