import pytest
from OFS.userfolder import UserFolder
from Products.GenericSetup.tool import SetupTool
from Products.PluggableAuthService.interfaces.plugins import IAuthenticationPlugin, IExtractionPlugin
from Products.PluggableAuthService.PluggableAuthService import addPluggableAuthService

from taskqueue.zope.pas import installing
from taskqueue.zope.pas.installing import install_plugin, uninstall_plugin

from ..serving import APPS
from .user_folders import add_user_folder, make_root

KINDS = (IExtractionPlugin, IAuthenticationPlugin)


@pytest.fixture
def root():
    return make_root()


def order(folder):
    return [list(folder.plugins.listPluginIds(kind)) for kind in KINDS]


BEFORE = [["basic"], ["users"]]
AFTER = [["taskqueue", "basic"], ["users", "taskqueue"]]


def test_it_is_asked_first_and_those_that_lock_users_out_are_asked_before_it_lets_in(root):
    folder = add_user_folder(root.site)
    plugin = install_plugin(folder)
    assert plugin.getId() == "taskqueue"
    assert order(folder) == AFTER


def test_installing_again_only_puts_it_in_order(root):
    folder = add_user_folder(root.site)
    install_plugin(folder, "ours", "A title")
    folder.plugins.movePluginsDown(IExtractionPlugin, ["ours"])
    folder.plugins.deactivatePlugin(IAuthenticationPlugin, "ours")
    plugin = install_plugin(folder)
    assert (plugin.getId(), plugin.title) == ("ours", "A title")
    assert order(folder) == [["ours", "basic"], ["users", "ours"]]


def test_taking_it_out_leaves_all_as_it_was_and_may_be_done_twice(root):
    folder = add_user_folder(root.site)
    install_plugin(folder)
    uninstall_plugin(folder)
    uninstall_plugin(folder)
    assert order(folder) == BEFORE
    assert "taskqueue" not in folder.objectIds()


def test_a_user_folder_without_plugins_is_refused(root):
    root.site._setObject("acl_users", UserFolder())
    uninstall_plugin(root.site.acl_users)
    with pytest.raises(ValueError, match="/site/acl_users is a User Folder; only a Pluggable Auth Service"):
        install_plugin(root.site.acl_users)


def test_where_nobody_but_tasks_could_log_in_afterwards_it_is_refused(root):
    addPluggableAuthService(root.site)
    with pytest.raises(ValueError, match="activate an HTTP Basic Auth Helper first"):
        install_plugin(root.site.acl_users)
    assert root.site.acl_users.objectIds() == ["plugins"]


def test_the_profile_installs_in_the_site_and_further_up(root):
    folders = [add_user_folder(root), add_user_folder(root.site)]
    root.site._setObject("setup", SetupTool("setup"))
    installing.install(root.site.setup)
    assert [order(folder) for folder in folders] == [AFTER, AFTER]


def test_the_profile_uninstall_leaves_those_further_up_to_other_sites_and_says_so(root, caplog):
    folders = [add_user_folder(root), add_user_folder(root.site)]
    root.site._setObject("setup", SetupTool("setup"))
    installing.install(root.site.setup)
    installing.uninstall(root.site.setup)
    assert [order(folder) for folder in folders] == [AFTER, BEFORE]
    assert "in /acl_users stays, for other sites" in caplog.text


def test_the_profile_fails_where_no_user_folder_has_plugins(root):
    root.site._setObject("setup", SetupTool("setup"))
    with pytest.raises(ValueError, match="no Pluggable Auth Service here"):
        installing.install(root.site.setup)
    installing.uninstall(root.site.setup)


# ---- in Zope itself ----------------------------------------------------------------------------------------------


@pytest.mark.process
def test_both_profiles_are_registered_and_can_be_run(make_instance, peopled):
    instance = make_instance(zcml='<include package="zope_users"/>\n')
    instance.copy_of(peopled)
    printed = instance.script(APPS / "zope_users" / "run_profiles.py")
    lines = [line.partition(": ")[2] for line in printed.splitlines() if line.startswith("order: ")]
    assert lines == [
        "cookies basic / lockout users",
        "taskqueue cookies basic / lockout users taskqueue",
        "cookies basic / lockout users",
    ]


@pytest.mark.process
def test_it_can_be_added_in_the_zmi_and_is_not_to_be_called_by_a_url(identified):
    max_ = identified.by_basic("max")
    place = "/site/sub"
    assert max_.post(f"{place}/manage_addProduct/PluggableAuthService/addPluggableAuthService")[0] in (200, 204, 302)
    folder = f"{place}/acl_users"
    assert "Task Queue Plugin" in max_.get(f"{folder}/manage_main")[1]
    adding = f"{folder}/manage_addProduct/taskqueue.zope.pas"
    assert "Add Task Queue Plugin" in max_.get(f"{adding}/manage_addTaskQueuePluginForm")[1]
    assert identified.nobody.post(f"{adding}/manage_addTaskQueuePlugin", id="ours")[0] == 401
    max_.get(f"{folder}/manage_addProduct/PluggableAuthService/addHTTPBasicAuthHelper", id="basic")
    max_.get(f"{folder}/basic/manage_activateInterfaces", **{"interfaces:list": "IExtractionPlugin"})
    assert max_.post(f"{adding}/manage_addTaskQueuePlugin", id="ours", title="Tasks")[0] == 302
    assert "ours" in max_.get(f"{folder}/manage_main")[1]
    for method in ("extractCredentials", "authenticateCredentials"):
        assert max_.get(f"{folder}/ours/{method}")[0] in (401, 403, 404)
