"""What somebody sees who sits before a browser."""

import pytest

from ..serving import port_of, wait_until
from .chromium import Chromium

pytestmark = pytest.mark.process

ORDERS = "[...document.querySelectorAll('#orders li')].map(each => each.textContent).sort().join()"


def test_somebody_logs_in_sends_a_form_that_adds_tasks_and_sees_what_they_did(plone):
    with Chromium(f"http://127.0.0.1:{port_of(plone.process)}") as chromium:
        chromium.open("/Plone/login")
        chromium.fill(__ac_name="joe", __ac_password="joes-long-secret")
        chromium.click("[name='buttons.login']")
        chromium.wait_for("document.body.classList.contains('userrole-authenticated')")

        chromium.open("/Plone/shop/@@orders")
        assert chromium.evaluate(ORDERS) == ""
        chromium.click("[name=order]")
        chromium.wait_for("location.search == '?sent=3'")

        def look():
            chromium.open("/Plone/shop/@@orders")
            return chromium.evaluate(ORDERS)

        wanted = "order 0 of joe,order 1 of joe,order 2 of joe"
        wait_until(lambda: look() == wanted, lambda: f"the orders are not there; this is: {chromium.page}")
