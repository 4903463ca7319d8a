from __future__ import annotations

from collections.abc import Iterator

import pytest

from . import fakes


@pytest.fixture
def site() -> Iterator[fakes.Site]:
    """A queue with a consumer to be made, and ears for notices."""
    with fakes.site() as made:
        yield made
