"""Where tasks wait: one module a backend, each a ``TaskQueue``, and beside them what backends share.

``local`` keeps tasks in this process, ``sqlite`` in a file of this machine. ``rules`` holds the decisions that must
not differ from one backend to the next, ``hints`` wakes those who wait. Nothing here knows settings, requests or
transactions.
"""
