"""What somebody does with a browser: send a form that adds tasks, and see what has become of them."""

from html import escape

from plone.protect import CheckAuthenticator
from plone.protect.authenticator import createToken
from Products.Five import BrowserView

import taskqueue

PAGE = """<!DOCTYPE html>
<html><head><title>Orders</title></head><body>
<form method="post" action="@@orders">
  <input type="hidden" name="_authenticator" value="{token}">
  <input type="number" name="count" value="3">
  <button name="order" value="yes">Order</button>
</form>
<ul id="orders">{orders}</ul>
</body></html>
"""


class Orders(BrowserView):
    """A form, and the orders that have been confirmed."""

    def __call__(self):
        if self.request.method == "POST":
            CheckAuthenticator(self.request)
            path = "/".join(self.context.getPhysicalPath())
            count = int(self.request.form["count"])
            for number in range(count):
                taskqueue.add(f"{path}/@@confirm", method="GET", params={"number": number})
            return self.request.response.redirect(f"{self.context.absolute_url()}/@@orders?sent={count}")
        self.request.response.setHeader("Content-Type", "text/html")
        return PAGE.format(
            token=createToken(),
            orders="".join(f"<li>{escape(each.title)}</li>" for each in self.context.objectValues()),
        )


class Confirm(BrowserView):
    """The task: makes a page of an order."""

    def __call__(self):
        number = self.request.form["number"]
        creator = self.request["AUTHENTICATED_USER"].getId()
        self.context.invokeFactory("Document", f"order-{number}", title=f"order {number} of {creator}")
        return "confirmed"
