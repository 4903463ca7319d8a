from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import pytest

from taskqueue.errors import ConfigurationError
from taskqueue.settings import (
    BACKEND_OPTIONS,
    QUEUE_OPTIONS,
    REQUIRED,
    SERVER_OPTIONS,
    Option,
    QueueSettings,
    Section,
    ServerSettings,
    read_queue,
    read_section,
    read_server,
)

KEY = "k" * 32


def section(name: str = "mail", **options: Any) -> Section:
    return Section(name, options, "site.ini: [taskqueue:mail]")


def options_of(kind: str) -> Sequence[Option]:
    return BACKEND_OPTIONS[kind]


def error_of(read: Any, *arguments: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        read(*arguments)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


# ---- the tables --------------------------------------------------------------------------------------------------

ALL_OPTIONS = (*QUEUE_OPTIONS, *SERVER_OPTIONS, *(option for own in BACKEND_OPTIONS.values() for option in own))


@pytest.mark.parametrize("option", ALL_OPTIONS, ids=lambda option: option.name)
def test_an_option_explains_itself_in_one_line(option: Option) -> None:
    assert option.help
    assert "\n" not in option.help
    assert not option.help.endswith(".")


@pytest.mark.parametrize("option", ALL_OPTIONS, ids=lambda option: option.name)
def test_a_default_is_what_its_converter_would_make_of_it(option: Option) -> None:
    if option.default in (REQUIRED, ()):
        return  # there is none
    assert option.convert(option.default) == option.default


def test_no_option_stands_twice_where_it_could_be_meant() -> None:
    for kind, own in BACKEND_OPTIONS.items():
        names = [option.name for option in (*QUEUE_OPTIONS, *own)]
        assert len(names) == len(set(names)), kind
    names = [option.name for option in SERVER_OPTIONS]
    assert len(names) == len(set(names))


def test_what_was_not_given_has_the_defaults_of_the_table() -> None:
    assert read_queue(section("default"), options_of) == QueueSettings()
    assert read_server(section("default")) == ServerSettings()


def test_every_option_arrives_in_its_field() -> None:
    assert {option.name for option in SERVER_OPTIONS} == {f.name for f in dataclasses.fields(ServerSettings)} - {"name"}
    fields = {field.name for field in dataclasses.fields(QueueSettings)}
    assert {option.name for option in QUEUE_OPTIONS} - fields == {"secret_file"}


# ---- sections ----------------------------------------------------------------------------------------------------


def test_an_error_names_place_option_and_what_is_allowed_and_shows_what_was_given() -> None:
    assert error_of(read_server, section(lease="soon")) == (
        "site.ini: [taskqueue:mail] lease: takes a duration such as 30 s, 10 min or 24 h, 1 s or more, not 'soon'"
    )


def test_what_was_given_is_shown_in_part_and_escaped() -> None:
    error = error_of(read_server, section(lease="x\n\x1b[2J\u2028" + "y" * 1000))
    assert len(error) < 250
    assert "\x1b" not in error


def test_a_missing_option_that_is_required_is_an_error_that_explains_it() -> None:
    assert "path: is missing; it takes the file" in error_of(read_queue, section(type="sqlite"), options_of)


def test_a_misspelt_option_is_an_error_with_the_near_one() -> None:
    assert error_of(read_server, section(retry_max_cuont="3")).endswith(
        "retry_max_cuont: is not an option; did you mean retry_max_count?"
    )


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("max_retries", "retry_max_count"),
        ("max-attempts", "retry_max_count"),
        ("retry_limit", "retry_max_count"),
        ("threads", "concurrent_limit"),
        ("Workers", "concurrent_limit"),
        ("max_death", "max_deaths"),
    ],
)
def test_an_option_that_is_called_otherwise_elsewhere_gets_its_name(given: str, meant: str) -> None:
    assert error_of(read_server, section(**{given: "3"})).endswith(f"{given}: is not an option; did you mean {meant}?")


@pytest.mark.parametrize("given", ["timeout", "max_size", "backoff_base", "name_of_it"])
def test_a_word_that_is_near_to_none_gets_no_guess(given: str) -> None:
    assert "is not an option; there are: " in error_of(read_server, section(**{given: "3"}))


def test_what_is_called_so_elsewhere_is_no_option_itself() -> None:
    options = [*QUEUE_OPTIONS, *SERVER_OPTIONS, *(each for own in BACKEND_OPTIONS.values() for each in own)]
    words = [word for option in options for word in option.elsewhere]
    assert len(words) == len(set(words))
    assert not set(words) & {option.name for option in options}


def test_an_unknown_option_is_an_error_that_names_all() -> None:
    error = error_of(read_server, section(zzz="1"))
    assert all(option.name in error for option in SERVER_OPTIONS)


@pytest.mark.parametrize("given", [5, None, ("a", "b"), "a\nb", "{option}", "{0}", "%s"])
def test_whatever_is_no_option_is_an_error(given: Any) -> None:
    strange = Section("mail", {given: "1"}, "queues['mail']", ("['", "']"))
    assert "is not an option" in error_of(read_section, strange, SERVER_OPTIONS)


def test_names_with_braces_are_shown_as_they_are() -> None:
    strange = Section("{x}", {}, "{y}.ini: [taskqueue:{x}]")
    assert error_of(read_server, strange).startswith("{y}.ini: [taskqueue:{x}]: takes a name")


def test_a_key_on_a_line_of_its_own_is_not_shown_as_an_option() -> None:
    error = error_of(read_server, section(**{"q1w2e3r4t5z6u7i8o9p0" * 3: ""}))
    assert "q1w2e3r4…" in error
    assert "q1w2e3r4t5" not in error


@pytest.mark.parametrize("error", [ValueError, TypeError, KeyError, OverflowError, IndexError])
def test_a_converter_of_somebody_else_may_raise_what_it_likes(error: type[Exception]) -> None:
    def convert(_value: Any) -> Any:
        raise error("a colour")

    table = [Option("colour", convert, "red", "a colour")]
    assert "takes" in error_of(read_section, section(colour="hunter2"), table)
    hidden = [dataclasses.replace(table[0], secret=True)]
    assert "hunter2" not in error_of(read_section, section(colour="hunter2"), hidden)


def test_a_secret_is_not_shown_by_the_text_of_its_converter() -> None:
    table = [Option("pin", int, 0, "a number", secret=True)]
    assert error_of(read_section, section(pin="hunter2"), table).endswith("pin: takes a number")


# ---- a queue -----------------------------------------------------------------------------------------------------


def test_options_of_a_type_are_kept_apart() -> None:
    queue = read_queue(section(type="sqlite", path=" var/tasks.db "), options_of)
    assert (queue.type, queue.backend_options) == ("sqlite", {"path": "var/tasks.db", "synchronous": "full"})


def test_an_option_of_another_type_is_an_error_that_names_it() -> None:
    error = error_of(read_queue, section(type="local", path="tasks.db"), options_of)
    assert error.endswith("path: is an option of type sqlite, and this queue is of type local")


def test_an_option_of_a_type_that_is_not_given_is_an_error_that_gives_it() -> None:
    error = error_of(read_queue, section(path="tasks.db"), options_of)
    assert error.endswith("path: is an option of type sqlite; no type is given, so it is local; add type = sqlite")
    error = error_of(read_queue, section(url="redis://"), options_of)
    assert "url: is an option of type redis or postgresql; no type is given" in error


@pytest.mark.parametrize(("given", "meant"), [("typ", "type"), ("paht", "path"), ("max_size", "")])
def test_what_is_no_option_at_all_is_told_first(given: str, meant: str) -> None:
    error = error_of(read_queue, section(path="tasks.db", **{given: "sqlite"}), options_of)
    assert f"{given}: is not an option; {f'did you mean {meant}?' if meant else 'there are: '}" in error


def test_a_type_that_is_refused_is_an_error_of_the_option_type() -> None:
    def refuse(kind: str) -> Sequence[Option]:
        raise ValueError(f"takes no {kind}")

    assert error_of(read_queue, section(type=" x "), refuse) == "site.ini: [taskqueue:mail] type: takes no x"


@pytest.mark.parametrize("name", ["", " ", "a b", "é", "x" * 101])
def test_a_section_needs_a_name_that_is_one(name: str) -> None:
    assert "takes a name of letters" in error_of(read_queue, section(name), options_of)
    assert "takes a name of letters" in error_of(read_server, section(name))


def test_keys_stand_in_the_configuration_or_in_a_file_newest_first(tmp_path: Any) -> None:
    (tmp_path / "keys").write_text("a" * 32 + "\n" + "b" * 32 + "\n")
    inline = read_queue(section(secret="a" * 32 + "\n" + "b" * 32), options_of)
    from_file = read_queue(section(secret_file=str(tmp_path / "keys")), options_of)
    assert inline.secret == from_file.secret == (b"a" * 32, b"b" * 32)


def test_keys_in_both_places_are_an_error(tmp_path: Any) -> None:
    (tmp_path / "keys").write_text(KEY)
    error = error_of(read_queue, section(secret=KEY, secret_file=str(tmp_path / "keys")), options_of)
    assert error.endswith("secret_file: cannot stand beside secret; use one of them")


def test_a_queue_that_stores_no_credentials_takes_a_seal(tmp_path):
    (tmp_path / "keys").write_text(KEY)
    for key in ({"secret": KEY}, {"secret_file": str(tmp_path / "keys")}):
        assert read_queue(section(auth="principal", **key), options_of).auth == "principal"
    error = error_of(read_queue, section(auth="principal"), options_of)
    assert "auth: principal takes a secret or secret_file beside it" in error
    assert read_queue(section(), options_of).auth == "copy"


@pytest.mark.parametrize("option", ["secret", "secret_file"])
def test_a_key_is_never_shown(option: str) -> None:
    for value in ("hunter2hunter2", "hunter2" * 10 + " hunter2"):
        assert "hunter2" not in error_of(read_queue, section(**{option: value}), options_of)


def test_settings_do_not_show_what_may_be_secret() -> None:
    queue = read_queue(section(secret=KEY), options_of)
    own = dataclasses.replace(queue, backend_options={"password": "hunter2"})
    assert KEY not in repr(queue)
    assert "hunter2" not in repr(own)


# ---- a consumer --------------------------------------------------------------------------------------------------


def test_options_of_a_consumer_are_understood() -> None:
    server = read_server(
        section(
            "night",
            queue="mail",
            concurrent_limit="4",
            retry_max_count="0",
            min_backoff="250 ms",
            keep_dead="30 d",
            consume="Yes",
            outcomes="302=done",
        )
    )
    assert (server.name, server.queue, server.concurrent_limit, server.retry_max_count) == ("night", "mail", 4, 0)
    assert (server.min_backoff, server.keep_dead, server.consume) == (0.25, 30 * 86400, "yes")
    assert server.outcomes == {"302": "done"}


def test_no_concurrency_at_all_is_refused() -> None:
    assert "concurrent_limit: takes a whole number, 1 or more" in error_of(read_server, section(concurrent_limit="0"))


def test_the_shortest_wait_is_no_longer_than_the_longest() -> None:
    error = error_of(read_server, section(min_backoff="2 min", max_backoff="1 min"))
    assert error.endswith("min_backoff: min_backoff, 120 s, takes no more than max_backoff")
    assert "max_backoff: min_backoff, 5 s, takes" in error_of(read_server, section(max_backoff="1 s"))
    assert read_server(section(min_backoff="1 min", max_backoff="1 min")).min_backoff == 60


def test_a_lease_outlives_one_late_renewal() -> None:
    error = error_of(read_server, section(lease="10 s", renew="6 s"))
    assert "renew: takes half of lease or less" in error
    assert read_server(section(lease="10 s", renew="5 s")).renew == 5


def test_a_short_lease_is_renewed_in_time_without_being_told() -> None:
    assert read_server(section(lease="20 s")).renew == 5
    assert read_server(section(lease="5 min")).renew == 15
