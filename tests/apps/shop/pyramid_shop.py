"""The shop as a Pyramid application: pyramid_tm brings the transactions."""

from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPConflict
from pyramid.response import Response

import taskqueue

from .orders import Shop, SoldOutError, place_order


def main(global_config, **settings):
    config = Configurator(settings={**SETTINGS, **settings})
    config.include("pyramid_tm")
    config.include("taskqueue.pyramid")
    config.registry["shop"] = Shop()
    config.add_route("orders", "/orders")
    config.add_view(order, route_name="orders", request_method="POST")
    config.add_exception_view(sold_out, SoldOutError)
    config.add_route("receipts", "/receipts/send")
    config.add_view(send_receipt, route_name="receipts", request_method="POST", task_only=True)
    config.add_route("reminders", "/reminders/send")
    config.add_view(send_reminder, route_name="reminders", request_method="POST", task_only=True)
    config.add_route("parcels", "/parcels/pack")
    config.add_view(pack_parcel, route_name="parcels", request_method="POST", task_only=True)
    return config.make_wsgi_app()


SETTINGS = {
    "taskqueue.queue.default.type": "local",
    "taskqueue.queue.slow.type": "local",
    "taskqueue.server.default.queue": "default",
    "taskqueue.server.default.retry_max_count": "2",
    "taskqueue.server.slow.queue": "slow",
}


def order(request):
    number = place_order(request.registry["shop"], request.tm, request.params["article"])
    return Response(f"order {number}")


def sold_out(error, request):
    return HTTPConflict(f"{error} is sold out")


def send_receipt(request):
    number = int(request.params["order"])
    request.registry["shop"].send("receipt", number)
    taskqueue.add("/parcels/pack", "POST", {"order": number})
    return Response("sent")


def send_reminder(request):
    request.registry["shop"].send("reminder", int(request.params["order"]))
    return Response("sent")


def pack_parcel(request):
    user = request.headers.get("X-Shop-User", "nobody")
    request.registry["shop"].sent.append(("parcel", int(request.params["order"]), user))
    return Response("packed")
