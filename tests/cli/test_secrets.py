"""What the command line must never show, and what it must never do to a terminal, whatever a store holds."""

import pytest

from taskqueue.record import Principal

SECRET = "canary"
KEY = f"{SECRET}-key-0123456789abcdef0123456789abcdef"
INI = f"""
[taskqueue:default]
type = sqlite
path = %(here)s/default.db
secret = {KEY}

[taskqueue-server:default]
queue = default
"""
HOSTILE = "\x1b[2J\x1b]0;owned\x07\r\n! all is well\x9b31m\u202e\x00"
VERBS = [
    ["check"],
    ["status"],
    ["list"],
    ["list", "--newest"],
    ["show", "ID"],
    ["wait", "ID", "--timeout", "0"],
    ["retry", "ID"],
    ["retry", "--dead"],
    ["delete", "ID"],
    ["purge", "--yes", "--state", "ready"],
    ["pause"],
    ["resume"],
    ["resolve", "ID", "--publish"],
]
STATES = ["running", "done", "dead", "held", "ready"]

SECRETIVE = {
    "url": f"/login?token={SECRET}&{SECRET}",
    "method": "POST",
    "payload": SECRET.encode(),
    "headers": (
        ("Cookie", f"session={SECRET}"),
        ("Authorization", f"Basic {SECRET}"),
        ("Proxy-Authorization", SECRET),
        ("X-Api-Token", SECRET),
        ("X-CSRF-Token", SECRET),
        ("Referer", f"https://example.org/form?key={SECRET}"),
    ),
    "connection": {"REMOTE_ADDR": "127.0.0.1", "QUERY_STRING": f"token={SECRET}"},
}
SECRETIVE_OUTCOME = {
    "reason": f"redirected to https://example.org/login?came_from={SECRET}",
    "error": f"LoginError: /login?came_from={SECRET}",
    "headers": (("Location", f"/login?came_from={SECRET}"), ("X-Auth-Token", SECRET)),
    "body": f'<a href="/login?came_from={SECRET}&amp;x={SECRET}">'.encode(),
}
NASTY = {
    "url": f"/a{HOSTILE}",
    "method": f"GET{HOSTILE}",
    "headers": ((f"X-A{HOSTILE}", HOSTILE),),
    "principal": Principal(HOSTILE, HOSTILE),
    "base_url": HOSTILE,
    "trace": HOSTILE,
}
NASTY_OUTCOME = {
    "reason": HOSTILE,
    "error": HOSTILE,
    "headers": ((HOSTILE, HOSTILE),),
    "body": b"\xff" + HOSTILE.encode(),
}


def put_all(site, fields, outcome):
    """The ids of tasks, one in each state; the ready one last, as it would be claimed."""
    return [put(site, state, fields, outcome) for state in STATES]


def put(site, state, fields, outcome):
    """The id of a task in some state."""
    if state == "held":
        return site.hold(**fields)
    task_id = site.publish(**fields)
    if state != "ready":
        owner = site.owner()
        record = site.claim(owner)
        if state != "running":
            site.settle(owner, record, state, **outcome)
    return task_id


def run_on_each(run, site, task_ids, arguments):
    """All that a verb says, on each task where it takes one."""
    said = []
    for task_id in task_ids if "ID" in arguments else [""]:
        verb, *others = [task_id if word == "ID" else word for word in arguments]
        said.append(spoken(run(verb, site.ini, *others)))
    return "".join(said)


def spoken(ran):
    return ran.out + ran.err


@pytest.fixture(params=["text", "json"])
def options(request):
    return ["--json"] if request.param == "json" else []


@pytest.mark.parametrize("arguments", VERBS, ids=" ".join)
def test_no_verb_shows_a_secret(run, make_site, options, arguments):
    site = make_site(INI)
    task_ids = put_all(site, SECRETIVE, SECRETIVE_OUTCOME)
    said = run_on_each(run, site, task_ids, [*arguments, *options])
    assert said
    assert SECRET not in said


def test_what_is_shown_of_secrets_is_that_they_are_there(run, make_site):
    site = make_site(INI)
    out = run("show", site.ini, put(site, "dead", SECRETIVE, SECRETIVE_OUTCOME)).out
    assert "url                /login?token=…&…\n" in out
    assert "  Cookie: …\n" in out
    assert "    Location: /login?came_from=…\n" in out


@pytest.mark.parametrize("complaint", ["--param", "--header"])
def test_a_misspelt_secret_is_not_repeated(run, make_site, complaint):
    ran = run("add", make_site(INI).ini, "/x", complaint, SECRET)
    assert ran.status == 2
    assert SECRET not in spoken(ran)


def test_adding_a_secret_shows_none_of_it(run, make_site, options):
    site = make_site(INI)
    given = ["--param", f"a={SECRET}", "--header", f"Cookie: {SECRET}", "--payload", SECRET, "--method", "POST"]
    ran = run("add", site.ini, f"/x?token={SECRET}", *given, *options)
    assert ran.status == 0
    assert SECRET not in spoken(ran)


@pytest.mark.parametrize("arguments", VERBS, ids=" ".join)
def test_nothing_in_a_store_can_do_anything_to_a_terminal(run, make_site, options, arguments):
    site = make_site(INI)
    task_ids = put_all(site, NASTY, NASTY_OUTCOME)
    said = run_on_each(run, site, task_ids, [*arguments, *options])
    assert said.replace("\n", "").isprintable()
    assert not any(line.startswith("! all is well") for line in said.splitlines())


@pytest.mark.parametrize("arguments", [["list"], ["show"], ["status"], ["wait", "--timeout", "0"]], ids=" ".join)
def test_columns_that_were_changed_in_the_store_do_nothing_to_a_terminal(run, make_site, options, arguments):
    site = make_site(INI)
    task_id = put(site, "running", {}, {})
    site.change_row(task_id, consumer=HOSTILE, owner=HOSTILE, envelope=HOSTILE.encode(), outcome=HOSTILE.encode())
    verb, *others = arguments
    ran = run(verb, site.ini, *([task_id] if verb in ("show", "wait") else []), *others, *options)
    assert ran.status in (0, 3, 1)
    assert spoken(ran).replace("\n", "").isprintable()


@pytest.mark.parametrize("column", ["body", "secrets", "outcome", "envelope", "claimed_at", "attempts", "due", "state"])
@pytest.mark.parametrize(
    "arguments", [["list"], ["show", "ID"], ["status"], ["wait", "ID", "--timeout=0"]], ids=" ".join
)
def test_columns_of_a_wrong_type_break_no_verb(run, make_site, options, arguments, column):
    site = make_site(INI)
    task_id = put(site, "running", {}, {})
    site.change_row(task_id, **{column: f"text{HOSTILE}"})
    said = run_on_each(run, site, [task_id], [*arguments, *options])
    assert said
    assert said.replace("\n", "").isprintable()


def test_an_argument_can_do_nothing_to_a_terminal(run, make_site):
    ini = make_site(INI).ini
    for ran in (run("show", ini, HOSTILE), run(HOSTILE), run("list", ini, HOSTILE), run("list", ini, "-q", HOSTILE)):
        assert ran.status in (1, 2)
        assert ran.complaint.isprintable()
