"""The shop's own suite: it passes, and it fails where the shop is wrong."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .sites import PATIENCE_SECONDS

SHOP = Path(__file__).parents[1] / "apps" / "shop"


def run_shop_suite(folder, *mistakes):
    """Run the shop's own tests on a copy with mistakes; returns the names of those that failed."""
    copy = folder / "shop"
    shutil.copytree(SHOP, copy, ignore=shutil.ignore_patterns("__pycache__"))
    for file, right, wrong in mistakes:
        text = (copy / file).read_text()
        assert right in text
        (copy / file).write_text(text.replace(right, wrong))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", folder, copy]
    run = subprocess.run(command, check=False, cwd=folder, capture_output=True, text=True, timeout=2 * PATIENCE_SECONDS)
    return {line.split("::")[-1].split(" - ")[0] for line in run.stdout.splitlines() if line.startswith("FAILED")}


@pytest.mark.parametrize(
    ("mistake", "noticed_by"),
    [
        (("orders.py", "if queue_receipt:", "if False:"), "test_an_order_adds_its_receipt_and_a_reminder"),
        (("orders.py", "raise SoldOutError(article)", "pass"), "test_what_is_sold_out_sends_nothing"),
        (
            ("pyramid_shop.py", "number = place", "request.tm.doom(); number = place"),
            "test_an_order_adds_its_receipt_and_a_reminder",
        ),
        (("flask_shop.py", 'shop.send("receipt", number)', "pass"), "test_the_parcel_is_packed_once_for_each_order"),
        (("flask_shop.py", "    @taskqueue.task_only\n", ""), "test_receipts_cannot_be_sent_from_outside"),
        (
            ("pyramid_shop.py", 'taskqueue.add("/parcels/pack"', 'taskqueue.add("/parcel/pack"'),
            "test_a_script_adds_as_well",
        ),
    ],
)
def test_the_shops_suite_notices_a_mistake(tmp_path, mistake, noticed_by):
    assert noticed_by in run_shop_suite(tmp_path, mistake)
