import sys

import pytest

from taskqueue.cli import zopeconf
from taskqueue.configure import Configuration
from taskqueue.errors import ConfigurationError

CONF = "%define INSTANCE /srv/zope\ninstancehome $INSTANCE\n\n<zodb_db main>\n</zodb_db>\n"
INI = "[app:zope]\nuse = egg:Zope#main\nzope_conf = %(here)s/zope.conf\n"


def write(folder, text, name="site"):
    file = folder / name
    file.write_text(text)
    return file


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        (CONF, True),
        ("  %import taskqueue\n  <taskqueue />\n", True),
        ("# [section]\n<taskqueue>\n  path [x]\n</taskqueue>\n", True),
        (INI, False),
        ("[taskqueue:default]\ntype = sqlite\n", False),
        (f"[instance]\nzope-conf-additional =\n    {CONF}", False),
        ("", False),
        ("nonsense\n", False),
    ],
)
def test_a_zope_conf_is_told_by_what_is_in_it(tmp_path, text, is_one):
    for name in ("site.conf", "site.ini", "site"):
        assert zopeconf.is_zope_conf(write(tmp_path, text, name)) is is_one


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (INI, "zope.conf"),
        (INI.replace("%(here)s/", ""), "zope.conf"),
        (INI.replace("%(here)s/zope.conf", "parts/etc/zope.conf"), "parts/etc/zope.conf"),
        (INI.replace("egg:Zope#main", "egg:Zope"), "zope.conf"),
        (INI.replace("egg:Zope#main", "egg:myapp"), None),
        (INI.replace("zope_conf", "other"), None),
    ],
)
def test_an_ini_file_of_zopes_names_its_zope_conf(tmp_path, text, name):
    assert zopeconf.named_in(write(tmp_path, text)) == (None if name is None else tmp_path / name)


def test_a_file_that_is_not_there_is_none_of_them(tmp_path):
    assert not zopeconf.is_zope_conf(tmp_path / "nowhere.conf")
    assert zopeconf.named_in(tmp_path / "nowhere.ini") is None


def test_without_zconfig_the_error_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "taskqueue.zope.reading", None)
    with pytest.raises(ConfigurationError, match=r"site is a zope\.conf: install wsgi-taskqueue\[zope\]"):
        zopeconf.read(write(tmp_path, CONF))


def test_an_ini_file_with_sections_of_its_own_needs_neither_zconfig_nor_the_zope_conf(tmp_path, monkeypatch):
    ini = Configuration((), (), "zope.ini")
    zopeconf.refuse_both(ini, tmp_path / "nowhere.conf")
    file = write(tmp_path, f"{CONF}%import taskqueue\n<taskqueue />\n<taskqueue-server />\n", "zope.conf")
    with pytest.raises(ConfigurationError, match=r"zope\.ini has sections .* and zope\.conf has"):
        zopeconf.refuse_both(ini, file)
    monkeypatch.setattr(zopeconf, "find_spec", lambda _name: None)
    zopeconf.refuse_both(ini, file)


def test_what_it_configures_is_read_without_any_zope(tmp_path):
    text = f"{CONF}%import taskqueue\n<taskqueue mail>\n  type sqlite\n  path mail.db\n</taskqueue>\n"
    [queue] = zopeconf.read(write(tmp_path, text)).queues
    assert (queue.queue, queue.backend_options["path"]) == ("mail", "/srv/zope/var/mail.db")
