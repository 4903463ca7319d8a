"""``python -m taskqueue``: the command line."""

from .cli import main

raise SystemExit(main())
