"""The views of the instances that are killed: one adds in the way that it is told, one is the task, one counts."""

import json
import os
import random

import transaction
from BTrees.OOBTree import OOBTree
from Products.Five import BrowserView

import taskqueue

from .places import surround

trap = None  # of this process


class Prepare(BrowserView):
    """Makes what the others write into."""

    def __call__(self):
        root = self.context.getPhysicalRoot()
        root.proof = OOBTree({"written": OOBTree(), "effects": OOBTree()})
        return "prepared"


class Order(BrowserView):
    """Writes, adds tasks, and lets its transaction go the way that it is told."""

    def __call__(self):
        form = self.request.form
        cycle, tasks, way = int(form["cycle"]), int(form["tasks"]), form["way"]
        numbers = iter(range(tasks))

        def write():
            self.context.getPhysicalRoot().proof["written"][cycle] = tasks

        def add():
            taskqueue.add("/@@effect", params={"task": f"{cycle}-{next(numbers)}"})

        steps = [write] + [add] * (tasks - (way == "adds late"))
        random.shuffle(steps)
        for step in steps:
            step()
        surround(trap, transaction.manager, way, add)
        if way == "aborts":
            raise ValueError("this request does not commit")
        return "added"


class Effect(BrowserView):
    """The task: leaves a mark in a file at once, and an effect if it commits."""

    def __call__(self):
        task = self.request.form["task"]
        marks = os.open(os.environ["PROOF_MARKS"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(marks, f"{task}\n".encode())
        finally:
            os.close(marks)
        effects = self.context.getPhysicalRoot().proof["effects"]
        effects[task] = effects.get(task, 0) + 1
        return "done"


class Report(BrowserView):
    """What has been written, and how often each task had an effect."""

    def __call__(self):
        proof = self.context.getPhysicalRoot().proof
        return json.dumps({name: dict(proof[name]) for name in ("written", "effects")})
