"""One Zope for all tests that can share one: it starts once, with a filter in its pipeline and once without."""

import contextlib
import itertools

import pytest

from ..serving import APPS
from .identified import SECTIONS, USERS_ZCML, Identified, make_users
from .instances import Instance, as_user, served

_numbers = itertools.count()


class Running:
    """An instance that is served."""

    def __init__(self, instance, process):
        self.instance = instance
        self.process = process
        self.effects = instance.effects
        self.anna = as_user(process, "anna", "annas-secret")
        self.nobody = served(process)

    def as_user(self, *arguments, **keywords):
        return as_user(self.process, *arguments, **keywords)

    def mark(self):
        """A word that tells the tasks of one test from all others."""
        return f"mark{next(_numbers)}"

    def effect(self, mark, **facts):
        """What the task did whose form has this mark, once it has."""
        return self.effects.wait_for(1, form={"mark": mark}, **facts)[0]


@pytest.fixture(scope="session")
def filled(tmp_path_factory):
    """An instance with users and folders in it, of which others are copied."""
    instance = Instance(tmp_path_factory.mktemp("zope") / "filled")
    instance.script(APPS / "zope_site" / "make_site.py")
    return instance


@pytest.fixture(scope="session")
def make_instance(filled, tmp_path_factory):
    """Another instance with the same content."""

    def make(**keywords):
        instance = Instance(tmp_path_factory.mktemp("zope") / "instance", **keywords)
        instance.copy_of(filled)
        return instance

    return make


@contextlib.contextmanager
def running(instance):
    with instance.serve() as process:
        yield Running(instance, process)


@pytest.fixture(scope="session")
def filtered(make_instance):
    """Zope behind the filter, which finds its queues in zope.conf."""
    with running(make_instance()) as zope:
        yield zope


@pytest.fixture(scope="session")
def bare(make_instance):
    """Zope without a filter."""
    with running(make_instance(filters="")) as zope:
        yield zope


@pytest.fixture(params=["filtered", "bare"])
def zope(request):
    """Both."""
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="session")
def peopled(make_instance):
    """An instance with more users, of which others are copied."""
    return make_users(make_instance(sections=SECTIONS, zcml=USERS_ZCML))


@pytest.fixture(scope="session")
def identified(make_instance, peopled):
    """One of these, served."""
    instance = make_instance(sections=SECTIONS, zcml=USERS_ZCML)
    instance.copy_of(peopled)
    with instance.serve() as process:
        yield Identified(instance, process)
