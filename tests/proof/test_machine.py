"""Whatever is done in whatever order, a queue is as the model of it, and runs what was committed and nothing else."""

import logging
import os
from collections import Counter

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from .machine import TransactionMachine
from .machine_stores import STORES

FORM = os.environ.get("TASKQUEUE_PROOF", "short")
# In the short form as many as take a few seconds.
RUNS = {"local": 100, "sqlite": 80, "redis": 60, "postgresql": 25} if FORM != "long" else dict.fromkeys(STORES, 500)
SETTINGS = settings(
    stateful_step_count=50,
    derandomize=FORM != "long",
    database=None,
    deadline=None,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
    # To find the shortest way to a fault takes minutes: not where only the fault is asked for.
    phases=(Phase.generate,) if FORM == "mutated" else (Phase.generate, Phase.shrink),
)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", STORES)
def test_transactions_are_as_the_model_says(name, say, caplog):
    figures = Counter()
    # The transaction package has much to say of neighbours that fail.
    with caplog.at_level(logging.CRITICAL + 1), STORES[name]() as store:
        run_state_machine_as_test(
            lambda: TransactionMachine(store, figures), settings=settings(SETTINGS, max_examples=RUNS[name])
        )
    assert figures["claims"] > 0
    assert figures["settled"] > 0 or not store.survives
    say(f"{name}: " + ", ".join(f"{count:,} {what}" for what, count in figures.items()))
