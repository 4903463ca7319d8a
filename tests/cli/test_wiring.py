import pytest

from taskqueue.cli.wiring import errors, warnings

QUEUES = "[taskqueue:default]\ntype = sqlite\npath = tasks.db\n[taskqueue-server:default]\n"
FILTERS = "[filter:tasks]\nuse = egg:wsgi-taskqueue\n[filter:tm]\nuse = egg:wsgi-taskqueue#transaction\n"
URLMAP = "[composite:main]\nuse = egg:Paste#urlmap\n"
APP = "[app:main]\nuse = egg:shop\n"
UNUSED = (
    "app.ini: nothing in this file uses the taskqueue filter, so an application served from it sees none of these "
    "queues; "
)
NO_TRANSACTION = "tasks would run without a transaction; the taskqueue filter belongs outside"


@pytest.fixture
def warned(tmp_path):
    """What is said of a file."""

    def write(*texts):
        file = tmp_path / "app.ini"
        file.write_text("".join(texts))
        return warnings(file)

    return write


# ---- the filter ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wiring",
    [
        APP + "filter-with = tasks\n",
        APP + "filter-with = other\n[filter:other]\nuse = egg:other\nfilter-with = tasks\n",
        APP + "filter-with = again\n[filter:again]\nuse = tasks\n",
        APP + "filter-with = egg:wsgi-taskqueue\n",
        APP + "filter-with = egg:WSGI_TaskQueue#main\n",
        APP + "filter-with = call:taskqueue.paste:filter_app_factory\n",
        APP + "filter-with = own\n[filter:own]\npaste.filter_app_factory = taskqueue.paste:filter_app_factory\n",
        "[pipeline:main]\npipeline =\n    egg:other\n    tasks\n    shop\n[app:shop]\nuse = egg:shop\n",
        "[filter-app:main]\nuse = egg:wsgi-taskqueue\nnext = shop\n[app:shop]\nuse = egg:shop\n",
        "[composite:main]\nuse = egg:mine\nfilters = tasks\n",
        "[composite:main]\nuse = egg:Paste#urlmap\n/ = shop\n[app:shop]\nuse = egg:shop\nfilter-with = tasks\n",
        "",
    ],
)
def test_a_file_that_uses_the_filter_or_serves_nothing_is_as_it_should_be(warned, wiring):
    assert warned(QUEUES, FILTERS, wiring) == []


def test_a_file_without_queues_needs_no_filter(warned):
    assert warned(FILTERS, APP) == []


@pytest.mark.parametrize(
    ("wiring", "cure"),
    [
        (FILTERS + APP, "add filter-with = tasks to [app:main]"),
        (
            "[app:shop]\nuse = egg:shop\n",
            "add filter-with = taskqueue to [app:shop], and a section [filter:taskqueue] with use = egg:wsgi-taskqueue",
        ),
        (
            FILTERS + "[pipeline:main]\npipeline = tm shop\n[app:shop]\nuse = egg:shop\n",
            "begin pipeline = in [pipeline:main] with tasks",
        ),
        (FILTERS + APP + "filter-with = tm\n", "add filter-with = tasks to [app:main]"),
    ],
)
def test_queues_that_no_application_would_see_are_warned_of(warned, wiring, cure):
    assert warned(QUEUES, wiring) == [UNUSED + cure]


# ---- names ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wiring", "warning"),
    [
        (
            APP + "filter-with = taks\n",
            "[app:main] filter-with: there is no section [filter:taks] in this file; did you mean tasks?",
        ),
        (
            "[pipeline:main]\npipeline = xyz tasks shop\n[app:shop]\nuse = egg:shop\n",
            "[pipeline:main] pipeline: there is no section [filter:xyz] in this file",
        ),
        (
            "[pipeline:main]\npipeline = tasks shopp\n[app:shop]\nuse = egg:shop\n",
            "[pipeline:main] pipeline: there is no section [app:shopp] in this file; did you mean shop?",
        ),
    ],
)
def test_a_name_that_is_no_section_is_warned_of_with_the_near_one(warned, wiring, warning):
    assert f"app.ini: {warning}" in warned(QUEUES, FILTERS, wiring)


@pytest.mark.parametrize("name", ["egg:other", "config:other.ini", "call:mine:make", "%(which)s"])
def test_a_name_that_leads_out_of_the_file_is_left_to_whoever_serves(warned, tmp_path, name):
    (tmp_path / "other.ini").touch()
    assert warned(APP, f"filter-with = {name}\n") == []


@pytest.mark.parametrize(
    ("written", "meant"),
    [("egg:taskqueue", "egg:wsgi-taskqueue"), ("egg:TaskQueue#transaction", "egg:wsgi-taskqueue#transaction")],
)
def test_the_distribution_of_somebody_else_is_warned_of(warned, written, meant):
    found = warned(APP, f"filter-with = tasks\n[filter:tasks]\nuse = {written}\n")
    assert found == [f"app.ini: [filter:tasks] use: {written} is something else; did you mean {meant}?"]


def test_a_filter_under_the_wrong_distribution_is_not_called_unused_as_well(warned):
    found = warned(QUEUES, APP, "filter-with = tasks\n[filter:tasks]\nuse = egg:taskqueue\n")
    assert len(found) == 1
    assert "did you mean egg:wsgi-taskqueue?" in found[0]


@pytest.mark.parametrize(
    ("entry", "hint"), [("transactions", "; did you mean transaction?"), ("zzz", "; there are: #main, #transaction")]
)
def test_a_filter_that_the_distribution_has_not_is_told_with_those_that_it_has(warned, entry, hint):
    (found,) = warned(f"[filter:tm]\nuse = egg:wsgi-taskqueue#{entry}\n")
    assert found == f"app.ini: [filter:tm] use: there is no egg:wsgi-taskqueue#{entry}{hint}"


@pytest.mark.parametrize(
    "broken",
    [
        APP + "filter-with = taks\n",
        APP + "filter-with = egg:taskqueue\n",
        APP + "filter-with = outer\n[filter:outer]\nuse = egg:x\nfilter-with = taks\n",
        APP + "filter-with = own\n[filter:own]\nuse = egg:wsgi-taskqueue\npath = x\n",
        "[pipeline:main]\npipeline = xyz shop\n[app:shop]\nuse = egg:shop\n",
        URLMAP + "/ = shop\n[app:shop]\nuse = egg:shop\nfilter-with = taks\n",
        "[app:main]\nuse = shop\n[app:shop]\nuse = egg:shop\nfilter-with = taks\n",
        "[app:main]\nuse = config:app.ini#shop\n[app:shop]\nuse = egg:shop\nfilter-with = taks\n",
    ],
)
def test_what_keeps_the_application_from_being_loaded_is_an_error(tmp_path, broken):
    (tmp_path / "app.ini").write_text(broken)
    assert len(errors(tmp_path / "app.ini", "")) == 1
    (tmp_path / "outer.ini").write_text("[app:main]\nuse = config:app.ini\n")
    assert errors(tmp_path / "outer.ini", "main") == errors(tmp_path / "app.ini", "")


def test_what_is_wrong_in_another_application_is_no_error(tmp_path):
    (tmp_path / "app.ini").write_text(APP + "[app:other]\nuse = egg:shop\nfilter-with = taks\n")
    assert errors(tmp_path / "app.ini", "") == []
    assert len(errors(tmp_path / "app.ini", "other")) == 1


# ---- transactions --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wiring",
    [
        "[pipeline:main]\npipeline = tm tasks shop\n[app:shop]\nuse = egg:shop\n",
        "[pipeline:main]\npipeline = tm shop\n[app:shop]\nuse = egg:shop\nfilter-with = tasks\n",
        "[pipeline:main]\npipeline = egg:repoze.tm2#tm tasks shop\n[app:shop]\nuse = egg:shop\n",
        APP + "filter-with = inner\n[filter:inner]\nuse = egg:wsgi-taskqueue\nfilter-with = tm\n",
        "[filter-app:main]\nuse = tm\nnext = shop\n[app:shop]\nuse = egg:shop\nfilter-with = tasks\n",
        URLMAP + "filter-with = tm\n/ = shop\n[app:shop]\nuse = egg:shop\nfilter-with = tasks\n",
    ],
)
def test_a_transaction_outside_of_the_queues_is_warned_of(warned, wiring):
    found = warned(QUEUES, FILTERS, wiring)
    assert len(found) == 1
    assert found[0].startswith("app.ini: the transaction filter (")
    assert found[0].endswith(NO_TRANSACTION)


@pytest.mark.parametrize(
    "wiring",
    [
        "[pipeline:main]\npipeline = tasks tm shop\n[app:shop]\nuse = egg:shop\n",
        "[pipeline:main]\npipeline = tm tasks tm shop\n[app:shop]\nuse = egg:shop\n",
        APP + "filter-with = inner\n[filter:inner]\nuse = tm\nfilter-with = tasks\n",
        URLMAP + "/1 = 1\n/2 = 2\n[app:1]\nuse = egg:a\nfilter-with = tasks\n[app:2]\nuse = egg:b\nfilter-with = tm\n",
    ],
)
def test_a_transaction_inside_of_the_queues_is_as_it_should_be(warned, wiring):
    assert warned(QUEUES, FILTERS, wiring) == []


def test_sections_that_name_each_other_in_a_circle_end_somewhere(warned):
    circle = "[filter:a]\nuse = b\nfilter-with = b\n[filter:b]\nuse = a\nfilter-with = a\n"
    pipelines = "[pipeline:p]\npipeline = a q\n[pipeline:q]\npipeline = a p\n"
    assert warned(circle, pipelines, APP, "filter-with = a\n") == []


# ---- options -------------------------------------------------------------------------------------------------------


def test_options_in_the_section_of_the_filter_are_warned_of(warned):
    (found,) = warned(QUEUES, APP, "filter-with = tasks\n[filter:tasks]\nuse = egg:wsgi-taskqueue\nqueue = default\n")
    assert found.startswith(
        "app.ini: [filter:tasks] queue: is not an option here, and an error when served; queues and"
    )


def test_options_of_the_transaction_filter_are_warned_of(warned):
    (found,) = warned("[filter:tm]\nuse = egg:wsgi-taskqueue#transaction\nretry = 3\n")
    assert found.startswith("app.ini: [filter:tm] retry: is not an option here")


def test_what_pastedeploy_takes_for_itself_is_no_option(warned):
    own = "[filter:tasks]\nuse = egg:wsgi-taskqueue\nfilter-with = tm\nset debug = true\n"
    assert warned("[DEFAULT]\nqueue = x\n", own, "[filter:tm]\nuse = egg:other\nretry = 3\n") == []
