"""What the tests of ``taskqueue.testing`` share."""

import pytest

from . import sites


@pytest.fixture
def make_site():
    """Builds sites that live as long as the test."""
    built = []

    def make(*arguments, **keywords):
        built.append(sites.build(*arguments, **keywords))
        return built[-1]

    yield make
    for site in built:
        site.installation.close()
