"""The shop as a Flask application: the transaction middleware gives each request its transaction."""

from flask import Flask, request

import taskqueue
from taskqueue.wsgi import TaskQueueFilter, TransactionMiddleware

from .orders import Shop, SoldOutError, place_order


def make_app():
    app = Flask(__name__)
    shop = app.extensions["shop"] = Shop()

    @app.post("/orders")
    def order():
        number = place_order(shop, request.environ["tm.manager"], request.form["article"])
        return f"order {number}"

    @app.errorhandler(SoldOutError)
    def sold_out(error):
        return f"{error} is sold out", 409

    @app.post("/receipts/send")
    @taskqueue.task_only
    def send_receipt():
        number = int(request.args["order"])
        shop.send("receipt", number)
        taskqueue.add("/parcels/pack", "POST", {"order": number})
        return "sent"

    @app.post("/reminders/send")
    @taskqueue.task_only
    def send_reminder():
        shop.send("reminder", int(request.args["order"]))
        return "sent"

    @app.post("/parcels/pack")
    @taskqueue.task_only
    def pack_parcel():
        shop.sent.append(("parcel", int(request.args["order"]), request.headers.get("X-Shop-User", "nobody")))
        return "packed"

    app.wsgi_app = TaskQueueFilter(
        TransactionMiddleware(app.wsgi_app),
        queues={"default": {}, "slow": {}},
        servers={"default": {"queue": "default", "retry_max_count": 2}, "slow": {"queue": "slow"}},
    )
    return app
