import sys
import textwrap

import pytest

from taskqueue import witnesses
from taskqueue.interfaces import WitnessMark

INI = """\
[taskqueue:default]
type = sqlite
path = %(here)s/default.db
witness = {module}:witness
"""
WITNESS = """
    from taskqueue.interfaces import Witness

    class Ledger(Witness):
        kind = "ledger"
        database = "books"
        answer = "yes"

        def recognises(self, data_manager):
            return False

        def mark(self, key, transaction, data_managers):
            raise AssertionError("nobody takes part")

        def testify(self, marks, timeout):
            if isinstance(self.answer, Exception):
                raise self.answer
            return dict.fromkeys(marks, self.answer)

    witness = Ledger()
"""
BOOKS = {"witnesses": (WitnessMark(kind="ledger", database="books"),), "strangers": ()}


@pytest.fixture
def books(tmp_path, monkeypatch):
    """The witness that the ini file of a site names."""
    (tmp_path / "bookkeeping.py").write_text(textwrap.dedent(WITNESS))
    monkeypatch.syspath_prepend(tmp_path)
    yield lambda: sys.modules["bookkeeping"].witness
    module = sys.modules.pop("bookkeeping", None)
    if module is not None:
        witnesses.unregister(module.witness)


@pytest.mark.parametrize(("verdict", "state"), [("publish", "ready"), ("discard", None)])
def test_held_tasks_are_decided(run, site, verdict, state):
    held = [site.hold(), site.hold("mail")]
    ran = run("resolve", site.ini, *held, f"--{verdict}")
    assert ran == (0, f"resolved {held[0]}\nresolved {held[1]}\n", "")
    assert [site.state(held[0]), site.state(held[1], "mail")] == [state, state]


@pytest.mark.parametrize(("verdict", "state"), [("publish", "ready"), ("discard", None)])
def test_what_a_gone_owner_staged_is_decided_before_anybody_reclaims_it(run, site, verdict, state):
    owner = site.owner(consumers=())
    task_id = site.stage(owner)
    site.backend().retire(owner)
    assert run("resolve", site.ini, task_id, f"--{verdict}").status == 0
    assert site.state(task_id) == state


def test_what_a_living_owner_staged_is_left_to_its_transaction(run, site):
    task_id = site.stage(site.owner())
    ran = run("resolve", site.ini, task_id, "--discard")
    assert ran.status == 1
    assert ran.complaint == f"task {task_id} is staged by a process that is alive, whose transaction will decide"
    assert site.state(task_id) == "staged"


def test_a_task_that_is_not_held_stays_as_it_is(run, site):
    ready, held = site.publish(), site.hold()
    ran = run("resolve", site.ini, ready, held, "--discard", "--json")
    assert ran.status == 1
    assert ran.document["resolved"] == [held]
    assert ran.document["refused"] == [{"id": ready, "reason": f"task {ready} is ready: only held tasks are resolved"}]
    assert site.state(ready) == "ready"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["x"], "takes ids of tasks together with --publish or --discard, or neither"),
        (["x", "--publish", "--discard"], "not allowed with argument --publish"),
        (["--publish"], "takes ids of tasks together with --publish or --discard, or neither"),
        (["--all"], "in place of ids --all, or --transaction ID"),
        (["x", "--all", "--publish"], "takes ids of tasks, --all or --transaction, one of them"),
        (["--all", "--transaction", "x", "--publish"], "not allowed with argument --all"),
    ],
)
def test_resolve_takes_ids_and_one_verdict(run, site, arguments, complaint):
    ran = run("resolve", site.ini, *arguments)
    assert ran.status == 2
    assert complaint in ran.complaint


# ---- showing what is held ----------------------------------------------------------------------------------------


def test_nothing_that_is_held_is_said_in_words(run, site):
    assert run("resolve", site.ini) == (0, "nothing is held\n", "")


def test_what_is_held_is_shown_with_all_that_is_known(run, site):
    task_id = site.hold(url="/reports?month=3")
    ran = run("resolve", site.ini)
    assert ran.status == 1
    assert f"{task_id} of queue default: GET /reports\n" in ran.out
    assert "by a-host, pid " in ran.out
    assert "in transaction the-transaction" in ran.out
    assert "nothing is known of its transaction" in ran.out
    decide = f"decide with: taskqueue resolve {site.ini} ID --publish, or --discard"
    assert ran.complaint == f"{decide}; --all in place of ID takes all"


def test_all_held_tasks_of_all_queues_are_in_the_document(run, site):
    ids = [site.hold() for _ in range(3)] + [site.hold("mail")]
    shown = run("resolve", site.ini, "--json").document
    assert [each["id"] for each in shown] == ids
    assert shown[0]["transaction"] == "the-transaction"
    assert shown[0]["witnesses"] == []
    assert shown[3]["queue"] == "mail"


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("yes", "its transaction committed in ledger books"),
        ("no", "its transaction did not commit in ledger books"),
        ("not yet", "it may still commit in ledger books; asked again"),
        ("unknown", "the history of ledger books does not tell any more"),
    ],
)
def test_the_witness_that_the_ini_names_is_asked(run, make_site, books, answer, why):
    site = make_site(INI.format(module="bookkeeping"))
    site.hold(envelope=BOOKS)
    run("resolve", site.ini)  # loads the module
    books().answer = answer
    (shown,) = run("resolve", site.ini, "--json").document
    assert shown["why"] == why
    assert shown["witnesses"] == ["ledger books"]


def test_a_witness_that_fails_is_said(run, make_site, books):
    site = make_site(INI.format(module="bookkeeping"))
    site.hold(envelope=BOOKS)
    run("resolve", site.ini)
    books().answer = OSError("password=s3cret")
    (shown,) = run("resolve", site.ini, "--json").document
    assert "the ledger witness could not be asked: OSError" in shown["why"]
    assert "s3cret" not in shown["why"]


def test_a_witness_that_nobody_has_is_named(run, site):
    site.hold(envelope=BOOKS)
    assert "nobody in this process can ask ledger books; see taskqueue.register_witness" in run("resolve", site.ini).out


def test_types_that_cannot_be_asked_are_named(run, site):
    site.hold(envelope={"strangers": ("shop.Ledger",)})
    said = run("resolve", site.ini).out
    assert "a part of its transaction cannot be asked: shop.Ledger\n" in said
    assert "see taskqueue resolve" not in said


def test_a_witness_that_cannot_be_had_is_one_line(run, make_site):
    site = make_site(INI.format(module="no_such_module"))
    site.hold()
    ran = run("resolve", site.ini)
    assert ran.status == 2
    assert "[taskqueue:default] witness: no_such_module:witness cannot be had: ModuleNotFoundError" in ran.complaint


# ---- many at once ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("verdict", "state"), [("publish", "ready"), ("discard", None)])
def test_all_that_is_held_is_decided_at_once(run, site, verdict, state):
    held = {"default": [site.hold() for _ in range(3)], "mail": [site.hold("mail")]}
    staged = site.stage(site.owner())
    ran = run("resolve", site.ini, "--all", f"--{verdict}", "--yes", "--json")
    assert ran.status == 0
    assert sorted(ran.document["resolved"]) == sorted(held["default"] + held["mail"])
    assert {site.state(task_id, queue) for queue, ids in held.items() for task_id in ids} == {state}
    assert site.state(staged) == "staged"


def test_those_of_one_queue_are_decided_at_once(run, site):
    mail, other = site.hold("mail"), site.hold()
    assert run("resolve", site.ini, "--all", "--discard", "-y", "-q", "mail").status == 0
    assert (site.state(mail, "mail"), site.state(other)) == (None, "held")


def test_those_of_one_transaction_are_decided_at_once(run, site):
    ids = [site.hold(), site.hold(), site.hold("mail")]
    other = site.hold(envelope={"transaction_id": "another"})
    ran = run("resolve", site.ini, "--transaction", "the-transaction", "--publish")
    assert ran == (0, "".join(f"resolved {task_id}\n" for task_id in ids), "")
    assert site.state(other) == "held"


def test_a_transaction_of_which_nothing_is_held_is_told(run, site):
    site.hold()
    ran = run("resolve", site.ini, "--transaction", "the-trans", "--publish")
    assert (ran.status, ran.complaint) == (
        1,
        "nothing is held of transaction 'the-trans'; its id is given in full",
    )


def test_where_nothing_is_held_all_of_it_is_decided(run, site):
    assert run("resolve", site.ini, "--all", "--discard") == (0, "nothing is held\n", "")


def test_who_decides_over_all_is_asked(run, site):
    task_id = site.hold()
    ran = run("resolve", site.ini, "--all", "--discard")
    assert (ran.status, ran.complaint) == (
        2,
        "resolve: asks before it decides over all, and there is no terminal to ask on; add --yes",
    )
    assert site.state(task_id) == "held"


@pytest.mark.parametrize(("typed", "status", "state"), [("y\n", 0, None), ("\n", 1, "held")])
def test_the_answer_decides(run, site, answer, typed, status, state):
    task_id = site.hold()
    answer(typed)
    ran = run("resolve", site.ini, "--all", "--discard")
    assert ran.status == status
    assert "taskqueue: 1 task held, in default, mail\nDiscard them all? [y/N] " in ran.err
    assert site.state(task_id) == state
