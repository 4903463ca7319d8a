"""Each option of zope.conf, each way to get it wrong: one line with file, line, section and option."""

import pytest
from ZConfig import ConfigurationError as ZConfigError

from taskqueue.errors import ConfigurationError
from taskqueue.settings import BACKEND_OPTIONS, QUEUE_OPTIONS, REQUIRED, SERVER_OPTIONS

from ..test_configuration_errors import NEGATIVES, PLACED, SECRET, WRONG_TEXTS, Case, Place, typos, wrong
from .reading import FIRST_LINE, READERS, write

KINDS = {"queue": "taskqueue", "server": "taskqueue-server"}


@pytest.fixture(params=READERS)
def read(request):
    return READERS[request.param]


def line_of(read, folder, text):
    """The one line that a zope.conf with these lines comes to."""
    with pytest.raises(ConfigurationError) as caught:
        read(write(folder, text))
    line = str(caught.value)
    assert len(line.splitlines()) == 1
    assert line.isprintable()
    return line


def message_of(read, folder, case, culprit=""):
    kind = KINDS[case.place.kind]
    options = [f"{name} {value}" for name, value in case.options().items()]
    line = line_of(read, folder, "\n".join(["%import taskqueue", f"<{kind} mail>", *options, f"</{kind}>", ""]))
    number = FIRST_LINE + 1 if culprit else FIRST_LINE + 1 + len(options)  # the option itself stands last
    beginning = f"zope.conf: line {number}: <{kind} mail> {culprit or case.option}: "
    assert line.startswith(beginning), line
    assert SECRET not in line or not case.hides
    return line.removeprefix(beginning)


@pytest.mark.parametrize("case", wrong(WRONG_TEXTS + NEGATIVES))
def test_a_wrong_value_is_one_line_that_says_what_is_allowed(case, tmp_path):
    message = message_of(READERS["zope"], tmp_path, case)
    assert message.startswith("takes ")
    assert (", not " in message) != case.hides


@pytest.mark.parametrize(("place", "option"), [each for each in PLACED if each[1].default is REQUIRED])
def test_a_required_option_that_is_missing_is_one_line_that_explains_it(read, place, option, tmp_path):
    message = message_of(read, tmp_path, Case(place, "prefix", "beside"), culprit=option.name)
    assert message == f"is missing; it takes {option.help}"


@pytest.mark.parametrize(
    ("place", "option", "typo"),
    [
        pytest.param(place, option, typo, id=f"{place.kind}.{typo}")
        for place, option in PLACED
        for typo in sorted(typos(option.name))
        if typo.lower() != option.name  # which is the same in zope.conf
    ],
)
def test_a_misspelt_option_is_one_line_with_the_near_one(place, option, typo, tmp_path):
    message = message_of(READERS["zope"], tmp_path, Case(place, typo.lower(), f"{SECRET} 1"))
    assert message == f"is not an option; did you mean {option.name}?"


@pytest.mark.parametrize(
    ("head", "near"),
    [
        ("taskqeue default", "taskqueue"),
        ("TaskQueues", "taskqueue"),
        ("task-queue", "taskqueue"),
        ("taskqueue-sever", "taskqueue-server"),
        ("taskqueue_server mail", "taskqueue-server"),
        ("taskqueue-servers /", "taskqueue-server"),
    ],
)
def test_a_misspelt_section_is_one_line_with_the_near_one(read, head, near, tmp_path):
    kind = head.partition(" ")[0]
    end = "" if head.endswith("/") else f"concurrent_limit 2\n</{kind}>\n"
    line = line_of(read, tmp_path, f"%import taskqueue\n<taskqueue />\n<taskqueue-server />\n<{head}>\n{end}")
    assert line == f"zope.conf: line {FIRST_LINE + 3}: <{head}>: is not a section; did you mean <{near}>?"


@pytest.mark.parametrize(
    ("kind", "typo", "near"), [("taskqueue", "qeue", "queue"), ("taskqueue-server", "nam", "name")]
)
def test_a_misspelt_name_is_one_line_with_the_near_one(read, kind, typo, near, tmp_path):
    line = line_of(read, tmp_path, f"%import taskqueue\n<{kind}>\n{typo} mail\n</{kind}>\n")
    assert line == f"zope.conf: line {FIRST_LINE + 2}: <{kind}> {typo}: is not an option; did you mean {near}?"


@pytest.mark.parametrize("kind", [*BACKEND_OPTIONS, "server"])
def test_an_unknown_option_is_one_line_that_names_all(read, kind, tmp_path):
    if kind == "server":
        place, known = Place("server", {}), SERVER_OPTIONS
    else:
        own = BACKEND_OPTIONS[kind]
        beside = {option.name: "tasks.db" for option in own if option.default is REQUIRED}
        place, known = Place("queue", {"type": kind, **beside}), (*QUEUE_OPTIONS, *own)
    message = message_of(read, tmp_path, Case(place, "zzz", SECRET))
    assert message.startswith("is not an option; there are: ")
    assert set(message.partition("there are: ")[2].split(", ")) == {option.name for option in known}


def test_the_slip_that_was_copied_from_the_predecessor_is_told_as_such(read, tmp_path):
    text = "%import taskqueue\n<taskqueue>\n  queue mail\n</product-config>\n"
    assert line_of(read, tmp_path, text) == (
        f"zope.conf: line {FIRST_LINE + 3}: </product-config>: closes <taskqueue> of line {FIRST_LINE + 1}; "
        "takes </taskqueue>"
    )


def test_an_option_that_is_there_twice_is_told_with_both_lines(read, tmp_path):
    text = "%import taskqueue\n<taskqueue>\ntype local\ntype sqlite\n</taskqueue>\n"
    assert line_of(read, tmp_path, text) == (
        f"zope.conf: line {FIRST_LINE + 3}: <taskqueue> type: is in line {FIRST_LINE + 2}, too"
    )


def test_a_consumer_of_a_queue_that_is_not_there_is_told_with_those_that_are(read, tmp_path):
    text = """\
        %import taskqueue
        <taskqueue />
        <taskqueue-server />
        <taskqueue-server mail>
          queue mail
        </taskqueue-server>
        """
    assert line_of(read, tmp_path, text) == (
        f"zope.conf: line {FIRST_LINE + 4}: <taskqueue-server mail> queue: there is no queue 'mail'; "
        "configured are: default"
    )


@pytest.mark.parametrize("options", ["", "concurrent_limit 2\n", "name web\n"])
def test_a_queue_in_the_head_of_a_consumer_of_another_one_is_told(read, options, tmp_path):
    text = f"""\
%import taskqueue
<taskqueue />
<taskqueue-server />
<taskqueue mailhost>
  type sqlite
  path tasks.db
</taskqueue>
<taskqueue-server mailhost>
{options}</taskqueue-server>
"""
    assert line_of(read, tmp_path, text) == (
        f"zope.conf: line {FIRST_LINE + 7}: <taskqueue-server mailhost> queue: is not given, so that this consumer "
        "takes from 'default', and none takes from 'mailhost', the name that it has; takes mailhost, or default if "
        "that is meant"
    )


def test_a_queue_in_the_head_of_a_consumer_is_told_where_there_is_no_default(read, tmp_path):
    text = "%import taskqueue\n<taskqueue mailhost />\n<taskqueue-server mailhost />\n"
    assert line_of(read, tmp_path, text).endswith("takes mailhost, or default if that is meant")


def test_a_queue_of_two_names_is_told(read, tmp_path):
    text = "%import taskqueue\n<taskqueue mail>\ntype local\nqueue letters\n</taskqueue>\n"
    assert line_of(read, tmp_path, text) == (
        f"zope.conf: line {FIRST_LINE + 3}: <taskqueue mail> queue: is 'letters', and the section's head says 'mail'; "
        "takes the name once"
    )


def test_what_to_add_is_written_as_in_a_zope_conf(read, tmp_path):
    line = line_of(read, tmp_path, "%import taskqueue\n<taskqueue>\npath tasks.db\n</taskqueue>\n")
    assert line.endswith("so it is local; add type sqlite")
    line = line_of(read, tmp_path, "%import taskqueue\n<taskqueue letters/>\n")
    assert line.endswith(": add <taskqueue-server> with queue letters, or use another type")


def test_two_queues_of_one_name_are_told(read, tmp_path):
    text = "%import taskqueue\n<taskqueue-server />\n<taskqueue />\n<taskqueue />\n"
    assert line_of(read, tmp_path, text) == (
        f"zope.conf: line {FIRST_LINE + 3}: <taskqueue>: there is another 'default'; takes a name that is there once"
    )


def test_two_consumers_of_one_name_and_one_queue_are_told(read, tmp_path):
    text = "%import taskqueue\n<taskqueue />\n<taskqueue-server />\n<taskqueue-server />\n"
    assert line_of(read, tmp_path, text) == (
        f"zope.conf: line {FIRST_LINE + 3}: <taskqueue-server>: there is another 'default'; takes a name that is there "
        "once"
    )


def test_a_section_without_the_import_is_told_with_its_line(tmp_path):
    file = write(tmp_path, "<taskqueue />\n")
    with pytest.raises(ZConfigError, match=rf"unknown type name: 'taskqueue'\n\(line {FIRST_LINE} in "):
        READERS["zope"](file)
    with pytest.raises(ConfigurationError, match=rf"zope.conf: line {FIRST_LINE}: .*%import taskqueue"):
        READERS["cli"](file)


def test_a_dollar_that_stands_for_nothing_is_told_without_the_secret_around_it(tmp_path):
    text = f"%import taskqueue\n<taskqueue>\ntype redis\npassword {SECRET}$(NO_SUCH_VARIABLE)\n</taskqueue>\n"
    line = line_of(READERS["cli"], tmp_path, text)
    assert line == f"zope.conf: line {FIRST_LINE + 3}: no replacement for 'NO_SUCH_VARIABLE'"
    with pytest.raises(ZConfigError) as caught:
        READERS["zope"](write(tmp_path, text))
    assert SECRET not in str(caught.value)


def test_a_section_inside_of_one_of_ours_is_told(read, tmp_path):
    text = "%import taskqueue\n<taskqueue>\n<zodb_db x>\n</zodb_db>\n</taskqueue>\n"
    assert line_of(read, tmp_path, text) == (
        f"zope.conf: line {FIRST_LINE + 2}: <taskqueue>: has options, and no section such as <zodb_db x> in it"
    )
