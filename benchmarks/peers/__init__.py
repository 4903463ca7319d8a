"""The workers under test: one script for each peer and one for ourselves, all with the same verbs.

``python -m benchmarks.peers NAME VERB …`` is run by the Python of that peer's own environment, so nothing here imports
anything but the standard library and the peer. ``given`` is what all of them share: where the store is, and the mark
that each task leaves. ``requirements/NAME.txt`` holds the versions of a peer's environment.

A script has ``add(numbers)``, which adds tasks one by one and may be called again and again, and ``work()``, which
consumes until the process is killed; where a store has to be made ready, ``prepare()``.
"""
