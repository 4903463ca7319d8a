"""The tests of the Pyramid shop."""

import pytest
import transaction
from webob import Request

from shop.orders import place_order_from_a_script
from shop.pyramid_shop import main
from taskqueue.testing import assert_added, assert_nothing_added, run_all


@pytest.fixture
def app():
    return main({})


@pytest.fixture
def shop(app):
    return app.registry["shop"]


def post(app, path, **fields):
    return Request.blank(path, POST=fields, headers={"X-Shop-User": "ada"}).get_response(app)


def test_an_order_adds_its_receipt_and_a_reminder(app, shop):
    post(app, "/orders", article="tea")
    assert shop.orders == ["tea"]
    assert_added("/receipts/send", method="POST", params={"order": 1}, queue="default")
    [reminder] = assert_added("/reminders/send", params={"order": 1}, queue="slow")
    assert reminder.state == "scheduled"


def test_a_receipt_is_sent_and_the_parcel_packed_in_the_name_of_the_customer(app, shop):
    post(app, "/orders", article="tea")
    assert shop.sent == []
    run_all()
    assert shop.sent == [("receipt", 1), ("parcel", 1, "ada")]


def test_a_week_later_the_reminder_is_sent(app, shop):
    post(app, "/orders", article="tea")
    run_all(delayed=True)
    assert shop.sent == [("receipt", 1), ("parcel", 1, "ada"), ("reminder", 1)]


def test_what_is_sold_out_sends_nothing(app, shop):
    assert post(app, "/orders", article="coffee").status_int == 409
    assert shop.orders == []
    assert_nothing_added()


def test_receipts_cannot_be_sent_from_outside(app, shop):
    assert post(app, "/receipts/send?order=1").status_int == 404
    assert shop.sent == []


def test_a_receipt_is_tried_three_times(app, shop):
    post(app, "/orders", article="tea")
    shop.mail_server_is_up = False
    tried = run_all(app, retry=True, check=False)
    assert [task.last_outcome.attempt for task in tried] == [1, 2, 3]
    assert tried[-1].state == "dead"


def test_a_receipt_is_sent_when_the_mail_server_is_back(app, shop):
    post(app, "/orders", article="tea")
    shop.mail_server_is_up = False
    run_all(check=False)
    shop.mail_server_is_up = True
    run_all(retry=True)
    assert shop.sent[0] == ("receipt", 1)


def test_a_script_adds_as_well(app, shop):
    place_order_from_a_script(shop, "tea")
    assert_added("/receipts/send", params={"order": 1})
    run_all()
    assert shop.sent == [("receipt", 1), ("parcel", 1, "nobody")]


class TestInATransactionThatNeverCommits:
    """As in suites that share one database: all requests of a test take part in one transaction, which aborts."""

    @pytest.fixture
    def manager(self):
        manager = transaction.TransactionManager(explicit=True)
        manager.begin()
        manager.doom()
        yield manager
        manager.abort()

    def test_what_would_be_added_can_be_looked_at(self, app, manager):
        environ = {"tm.active": True, "tm.manager": manager}
        Request.blank("/orders", environ, POST={"article": "tea"}).get_response(app)
        assert_added("/receipts/send", params={"order": 1}, transaction_manager=manager)
        assert_nothing_added()
