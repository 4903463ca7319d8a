"""What the shop remembers: orders that follow the transaction, and what its tasks have sent out."""

import transaction

import taskqueue

STOCK = {"tea": 3, "coffee": 0}


class SoldOutError(Exception):
    pass


class Shop:
    def __init__(self):
        self.orders = []
        self.sent = []  # receipts and reminders, in the order in which they left
        self.mail_server_is_up = True

    def send(self, kind, number):
        if not self.mail_server_is_up:
            raise ConnectionError("the mail server does not answer")
        self.sent.append((kind, number))


def place_order(shop, manager, article, queue_receipt=True):
    """An order counts when the transaction of ``manager`` commits, and its receipt is sent then."""
    number = len(shop.orders) + 1
    manager.get().addAfterCommitHook(lambda committed: committed and shop.orders.append(article))
    if queue_receipt:
        taskqueue.add("/receipts/send", "POST", {"order": number}, payload=None)
        taskqueue.add("/reminders/send", "POST", {"order": number}, payload=None, delay=7 * 24 * 3600, queue="slow")
    if not STOCK.get(article):
        raise SoldOutError(article)
    return number


def place_order_from_a_script(shop, article):
    """The same without any request."""
    with transaction.manager:
        return place_order(shop, transaction.manager, article)
