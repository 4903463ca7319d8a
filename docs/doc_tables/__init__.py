"""The parts of the reference that are drawn from the code's own tables, as a Sphinx extension: ``.. from-code:: NAME``.

Each part is a function that returns reStructuredText, so that a test can look at it without building anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from taskqueue.settings import BACKEND_OPTIONS, QUEUE_OPTIONS, SERVER_OPTIONS

from . import headers, log, options, outcomes, protocol, source, states, verbs

PARTS: Mapping[str, Callable[[], str]] = {
    "queue-options": lambda: options.options(QUEUE_OPTIONS),
    "sqlite-options": lambda: options.options(BACKEND_OPTIONS["sqlite"]),
    "redis-options": lambda: options.options(BACKEND_OPTIONS["redis"]),
    "postgresql-options": lambda: options.options(BACKEND_OPTIONS["postgresql"]),
    "server-options": lambda: options.options(SERVER_OPTIONS),
    "task-fields": source.fields("Task"),
    "outcome-fields": source.fields("Outcome"),
    "errors": source.error_classes,
    "states": states.states,
    "state-diagram": states.state_diagram,
    "state-verbs": states.state_verbs,
    "outcomes": outcomes.outcomes,
    "backoff": outcomes.backoff_steps,
    "hop-by-hop": headers.hop_by_hop,
    "never-copied": headers.never_copied,
    "always-copied": headers.always_copied,
    "secret-headers": headers.secret_headers,
    "captured": headers.captured,
    "methods": headers.methods,
    "made-by-the-replay": headers.made_by_the_replay,
    "log-lines": log.log_lines,
    "events": source.events,
    "verb-overview": verbs.verb_overview,
    "verbs": verbs.verbs,
    "floors": source.floors,
    "protocol-steps": protocol.steps,
    "protocol-deaths": protocol.deaths,
    "protocol-faults": protocol.faults,
    "protocol-rules": protocol.rules,
}


class FromCode(SphinxDirective):
    """``.. from-code:: NAME``: one of the parts."""

    required_arguments = 1

    def run(self) -> list[Any]:
        """The part's nodes, in place of the directive."""
        nodes: list[Any] = self.parse_text_to_nodes(PARTS[self.arguments[0]](), allow_section_headings=True)
        return nodes


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.add_directive("from-code", FromCode)
    return {"version": "1", "parallel_read_safe": True}
