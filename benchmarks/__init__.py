"""Benchmarks: what a task costs on its road, beside what it must cost at least. ``make bench`` runs them.

``command`` reads the arguments and goes through the rounds, ``stores`` are the backends under test, ``shop`` is the
application whose tasks leave ``marks``, ``measures`` says what is timed, ``floors`` times what cannot be undercut,
``figures`` counts, and ``report`` prints. Nothing of taskqueue imports this.
"""
