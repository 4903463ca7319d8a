"""The way out: a consumer takes tasks from one queue and replays them through the application.

``server`` is the loop, ``pool`` its threads, ``prefetch`` how much they take ahead, ``attempt`` what a thread does with
one claim, ``replay`` the call of the application, ``outcome`` what is concluded from its answer, ``acknowledge`` how a
door tells whether its transaction committed, ``once`` how a task ends in that very transaction, ``upkeep`` what is done
beside, ``trouble`` how errors are told once.
Nothing here knows a framework or a transaction manager.
"""

from __future__ import annotations

from .server import Consumer

__all__ = ["Consumer"]
