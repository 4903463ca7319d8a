"""A site that has the old PAS plugin: the script of the documentation takes it out, and everybody can log in then."""

import json
import re
from pathlib import Path

import pytest

from ..serving import APPS
from ..zope.instances import Instance
from .conftest import SECTIONS, ZCML, Site

pytestmark = pytest.mark.process

DOCUMENT = Path(__file__).parents[2] / "docs" / "howto" / "moving.rst"
PREDECESSOR = APPS / "predecessor"


class OldInstance(Instance):
    """One that has the old egg, until it goes."""

    has_egg = True

    @property
    def environ(self):
        path = f"{APPS}:{PREDECESSOR}" if self.has_egg else str(APPS)
        return {**super().environ, "PYTHONPATH": path}


@pytest.fixture
def instance(made, tmp_path):
    instance = OldInstance(tmp_path / "old", sections=SECTIONS, zcml=ZCML)
    instance.copy_of(made)
    instance.script(PREDECESSOR / "install_taskauth.py")
    return instance


@pytest.fixture
def remove(tmp_path):
    """The script, as it stands there."""
    block = re.search(r":caption: remove_taskauth.py\n\n((?:    .*\n|\n)+)", DOCUMENT.read_text())[1]
    script = tmp_path / "remove_taskauth.py"
    script.write_text(re.sub(r"^    ", "", block, flags=re.MULTILINE))
    return script


def left(instance):
    printed = instance.script(PREDECESSOR / "show_plugins.py")
    return json.loads(re.search(r"^LEFT (.*)$", printed, re.MULTILINE)[1])


def test_what_the_old_profile_has_left_is_found(instance):
    assert left(instance) == {
        "object": True,
        "active": ["IAuthenticationPlugin", "IExtractionPlugin"],
        "version": ["1"],
    }


@pytest.mark.parametrize("has_egg", [True, False], ids=["before the egg goes", "after it has gone"])
def test_the_script_takes_the_old_plugin_out(instance, remove, has_egg):
    instance.has_egg = has_egg
    assert "removed taskauth from /Plone/acl_users" in instance.script(remove)
    instance.has_egg = False
    assert left(instance) == {"object": False, "active": [], "version": "unknown"}
    with instance.serve() as process:
        site = Site(instance, process)
        mark = site.mark()
        assert site.logged_in().get("/Plone/@@add_task", task=f"/Plone/@@note?mark={mark}")[0] == 200
        assert site.effect(mark, kind="note")["user"] == "joe"
        assert "Traceback" not in process.output
