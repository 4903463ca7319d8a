"""plone.protect: whose writes it throws away, and that the writes of tasks are none of these."""

import json

import pytest

from ..zope.instances import until
from .test_serving import add, ended

pytestmark = pytest.mark.process


def titles(site):
    """The title in the database, and in the catalogue."""
    return json.loads(site.joe.get("/Plone/news/@@titles")[1])


@pytest.mark.parametrize("queue", ["default", "trusted"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_what_a_task_writes_stays_written(plone, queue, method):
    mark = plone.mark()
    browser = plone.logged_in()
    add(browser, "/Plone", f"/Plone/news/@@retitle?title={mark}", queue=queue, method=method)
    until(lambda: titles(plone) == [mark, mark], plone.process)


def test_what_a_request_from_outside_writes_without_a_token_does_not(plone):
    before, mark = titles(plone), plone.mark()
    assert plone.logged_in().get("/Plone/news/@@retitle", title=mark)[0] in (200, 302)
    plone.effects.wait_for(1, kind="retitle", form={"title": mark})  # it ran
    assert titles(plone) == before


def test_where_a_queue_is_not_exempt_its_tasks_writes_are_undone_and_it_is_not_called_done(plone):
    before, mark = titles(plone), plone.mark()
    url = f"/Plone/news/@@retitle?title={mark}"
    task = ended(plone, add(plone.logged_in(), "/Plone", url, queue="strict")["id"])
    plone.effects.wait_for(1, kind="retitle", form={"title": mark})  # it ran
    assert task["state"] == "dead"
    assert titles(plone) == before


def test_where_a_queue_is_not_exempt_a_task_that_writes_nothing_is_done(plone):
    assert ended(plone, add(plone.logged_in(), "/Plone", "/Plone/@@note", queue="strict")["id"])["state"] == "done"
