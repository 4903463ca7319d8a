import pytest

from taskqueue.backends.redis_address import address_of
from taskqueue.configure import backend_options, read_keywords
from taskqueue.errors import ConfigurationError

SECRET = "s3cret"


def test_without_options_it_is_this_machine():
    found = address_of({})
    assert (found.where, found.db, found.user, found.read_password(), found.tls) == (
        "localhost:6379",
        0,
        None,
        None,
        False,
    )


def test_host_port_db_user_and_password_are_taken():
    found = address_of({"host": "h", "port": 7000, "db": 3, "user": "ada", "password": SECRET})
    assert (found.where, found.db, found.user, found.read_password()) == ("h:7000", 3, "ada", SECRET)


def test_a_unix_socket_wins_over_host_and_port():
    found = address_of({"host": "h", "port": 7000, "unix_socket_path": "/run/redis.sock", "db": 1})
    assert (found.path, found.where, found.db) == ("/run/redis.sock", "/run/redis.sock", 1)


def test_relative_paths_mean_the_directory_at_the_time_of_configuration(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "password").write_text(f"{SECRET}\n")
    found = address_of({"unix_socket_path": "redis.sock", "password_file": "password"})
    monkeypatch.chdir("/")
    assert (found.path, found.read_password()) == (str(tmp_path / "redis.sock"), SECRET)


def test_a_password_file_is_read_each_time(tmp_path):
    file = tmp_path / "password"
    file.write_text("old")
    found = address_of({"password_file": file})
    file.write_text("new\n")
    assert found.read_password() == "new"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://", ("localhost:6379", 0, None, None, False)),
        ("redis://h", ("h:6379", 0, None, None, False)),
        ("redis://h:7000/5", ("h:7000", 5, None, None, False)),
        ("rediss://ada:p%40ss%2Fword@h", ("h:6379", 0, "ada", "p@ss/word", True)),
        ("redis://:only@h/", ("h:6379", 0, None, "only", False)),
        ("redis://[::1]:7000", ("[::1]:7000", 0, None, None, False)),
        ("unix:///run/my%20redis.sock", ("/run/my redis.sock", 0, None, None, False)),
    ],
)
def test_a_url_stands_for_all_of_them(url, expected):
    found = address_of({"url": url})
    assert (found.where, found.db, found.user, found.read_password(), found.tls) == expected


@pytest.mark.parametrize(
    "url",
    [
        "http://h",
        "h:6379",
        f"redis://:{SECRET}@h:port",
        f"redis://:{SECRET}@h:99999",
        "redis://h/zero",
        "redis://h/-1",
        "redis://h?db=1",
        "redis://h#1",
        "unix://",
        f"redis://:{SECRET}@[",
    ],
)
def test_what_is_no_url_is_refused_without_showing_it(url):
    with pytest.raises(ValueError, match="url takes a URL such as") as caught:
        address_of({"url": url})
    assert SECRET not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "beside",
    [
        {"host": "h"},
        {"port": 6379},
        {"db": 1},
        {"user": "ada"},
        {"password": SECRET},
        {"unix_socket_path": "/s"},
        {"tls": True},
    ],
)
def test_a_url_cannot_stand_beside_its_parts(beside):
    with pytest.raises(ValueError, match=f"url cannot stand beside {next(iter(beside))}") as caught:
        address_of({"url": "redis://h", **beside})
    assert SECRET not in str(caught.value)


def test_a_url_may_leave_the_password_to_a_file(tmp_path):
    (tmp_path / "password").write_text(SECRET)
    assert address_of({"url": "redis://ada@h", "password_file": tmp_path / "password"}).read_password() == SECRET


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"password": SECRET, "password_file": "f"}, "password_file cannot stand beside password"),
        ({"url": f"redis://:{SECRET}@h", "password_file": "f"}, "password_file cannot stand beside password"),
        ({"user": "ada"}, "user needs password or password_file"),
        ({"port": 65536}, "port takes a number from 1 to 65535"),
        ({"tls_ca_file": "ca.pem"}, "tls_ca_file needs tls to be true"),
        ({"tls": True, "unix_socket_path": "/s"}, "tls cannot be used with unix_socket_path"),
        ({"tls": True, "tls_key_file": "key.pem"}, "tls_key_file needs tls_cert_file"),
    ],
)
def test_options_that_do_not_fit_together_are_refused(options, message):
    with pytest.raises(ValueError, match=message) as caught:
        address_of(options)
    assert SECRET not in str(caught.value)


def test_a_node_of_the_cluster_has_the_same_user():
    found = address_of({"host": "seed", "user": "ada", "password": SECRET}).at_node("10.0.0.7", 7001)
    assert (found.where, found.user, found.read_password()) == ("10.0.0.7:7001", "ada", SECRET)
    assert address_of({"host": "seed"}).at_node("", 7001).where == "seed:7001"


def test_no_password_is_shown():
    assert SECRET not in repr(address_of({"password": SECRET}))


def test_the_options_are_those_of_the_configuration(tmp_path):
    password = tmp_path / "password"
    password.write_text(SECRET)
    given = {"type": "redis", "host": "h", "port": "7000", "db": "none", "tls": "yes", "password_file": str(password)}
    (queue,) = read_keywords({"mail": given}, None).queues
    assert {name: value for name, value in queue.backend_options.items() if value} == {
        "host": "h",
        "port": 7000,
        "tls": True,
        "password_file": str(password),
    }
    assert {option.name for option in backend_options("redis") if option.secret} == {"password", "url"}


def test_a_file_that_is_missing_is_told_with_its_option(tmp_path):
    with pytest.raises(ConfigurationError, match=r"tls_ca_file.*a file that can be read \(No such file"):
        read_keywords({"mail": {"type": "redis", "tls": True, "tls_ca_file": str(tmp_path / "ca.pem")}}, None)
