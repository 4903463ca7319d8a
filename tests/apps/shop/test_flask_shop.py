"""The tests of the Flask shop."""

import pytest

from shop.flask_shop import make_app
from taskqueue.testing import assert_added, assert_nothing_added, run_all


@pytest.fixture
def app():
    app = make_app()
    app.testing = True
    return app


@pytest.fixture
def client(app):
    return app.test_client()


@pytest.fixture
def shop(app):
    return app.extensions["shop"]


def order(client, article):
    return client.post("/orders", data={"article": article}, headers={"X-Shop-User": "ada"})


def test_an_order_adds_its_receipt_and_a_reminder(client, shop):
    order(client, "tea")
    assert shop.orders == ["tea"]
    assert_added("/receipts/send", method="POST", params={"order": 1}, queue="default")
    [reminder] = assert_added("/reminders/send", params={"order": 1}, queue="slow")
    assert reminder.state == "scheduled"


def test_a_receipt_is_sent_and_the_parcel_packed_in_the_name_of_the_customer(client, shop):
    order(client, "tea")
    assert shop.sent == []
    run_all()
    assert shop.sent == [("receipt", 1), ("parcel", 1, "ada")]


def test_a_week_later_the_reminder_is_sent(client, shop):
    order(client, "tea")
    run_all(delayed=True)
    assert shop.sent[-1] == ("reminder", 1)


def test_what_is_sold_out_sends_nothing(client, shop):
    assert order(client, "coffee").status_code == 409
    assert shop.orders == []
    assert_nothing_added()


def test_receipts_cannot_be_sent_from_outside(client, shop):
    assert client.post("/receipts/send?order=1").status_code == 403
    assert shop.sent == []


def test_a_receipt_that_cannot_be_sent_fails_the_test_with_the_reason(client, shop):
    order(client, "tea")
    shop.mail_server_is_up = False
    with pytest.raises(AssertionError, match="ConnectionError") as failure:
        run_all()
    assert isinstance(failure.value.__cause__, ConnectionError)
    assert shop.sent == []


def test_the_parcel_is_packed_once_for_each_order(client, shop):
    order(client, "tea")
    order(client, "tea")
    run_all()
    assert [entry[:2] for entry in shop.sent] == [("receipt", 1), ("receipt", 2), ("parcel", 1), ("parcel", 2)]
