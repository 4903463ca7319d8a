"""The catalogue is brought up to date before the commit, where tasks are staged: neither loses the other's work."""

import pytest

from .test_serving import add, ended

pytestmark = pytest.mark.process


def send(site, view, mark):
    """Call a view that writes, with the token that plone.protect asks for."""
    headers = {"X-CSRF-TOKEN": site.token()}
    return site.joe.request("GET", f"/Plone/news/@@{view}?mark={mark}", headers=headers)


def test_a_task_sees_all_that_its_transaction_has_indexed(plone):
    mark = plone.mark()
    assert send(plone, "publish_and_add", mark) == (200, "added")
    effects = plone.effects.wait_for(1, kind="look_up", form={"mark": mark})
    assert [effect["found"] for effect in effects] == [{"before": 1, "after": 1}]


def test_what_is_added_while_others_prepare_the_commit_is_delivered_too(plone):
    mark = plone.mark()
    assert send(plone, "add_in_hook", mark) == (200, "added")
    for number in "12":
        [effect] = plone.effects.wait_for(1, kind="look_up", form={"mark": mark, "number": number})
        assert effect["found"] == {"before": 1, "after": 1}


def test_where_somebody_fails_before_the_commit_nothing_is_delivered(plone):
    mark = plone.mark()
    assert send(plone, "add_and_fail_in_hook", mark)[0] == 500
    ended(plone, add(plone.joe, "/Plone", "/Plone/@@note")["id"])
    assert not [
        effect for effect in plone.effects.read() if effect["kind"] == "look_up" and effect["form"]["mark"] == mark
    ]
    assert "staged" not in plone.instance.states()
