"""How an option, or a section to add, is written in the place where somebody keeps their configuration. Text only.

What a message tells to write can then be copied: a line of an ini file is none of a zope.conf. The place is the one of
a message, as ``settings.Section.place_of`` makes it; where nothing is known of it, an ini file is meant.
"""

from __future__ import annotations

import re

_ZOPE = re.compile(r"(^|: )<taskqueue")
_KEYWORD = re.compile(r"^(queues|servers)\[")
_SETTING = re.compile(r"(^|: )taskqueue\.(queue|server)\.")


def option(place: str, name: str, value: str) -> str:
    """An option with its value."""
    if _ZOPE.search(place):
        return f"{name} {value}"
    if _KEYWORD.search(place):
        return f"{name!r}: {value!r}"
    return f"{name} = {value}"


def consumer(place: str, queue: str) -> str:
    """A consumer of that queue, to be added beside what stands at a place."""
    if _ZOPE.search(place):
        return "<taskqueue-server />" if queue == "default" else f"<taskqueue-server> with queue {queue}"
    if _KEYWORD.search(place):
        return f"servers={{{queue!r}: {{'queue': {queue!r}}}}}"
    if _SETTING.search(place):
        return f"taskqueue.server.{queue}.queue = {queue}"
    return f"[taskqueue-server:{queue}]" + (f" with queue = {queue}" if queue != "default" else "")


def consumers(place: str) -> str:
    """What consumers are written as, whatever they are called."""
    if _ZOPE.search(place):
        return "<taskqueue-server>"
    if _KEYWORD.search(place):
        return "servers="
    return "taskqueue.server.NAME.queue" if _SETTING.search(place) else "[taskqueue-server:NAME]"
