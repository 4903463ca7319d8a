"""The contract by every way that leads to a Redis server: unix socket, ACL user, TLS, and a cluster."""

import shutil
import subprocess

import pytest

from taskqueue.backends.redis_scripts import SCRIPTS, Keyspace
from taskqueue.errors import BackendUnavailableError

from .contract import BackendContract
from .contract_waiting import Connecting
from .making import OTHER, OWNER, beat, claim, claim_one, publish, record, stage
from .redis_clock import clock_of_this_process
from .redis_server import DEADLINE, Opener, Server, free_port

PASSWORD = "s3cret 'with\" marks"
# What the documentation asks for; the other prefixes are those of the contract's tests.
RIGHTS = "+@read +@write +@connection +@scripting +@pubsub +time -@dangerous +info +config|get"
PATTERNS = " ".join(f"~{{{prefix}:*}}:* &{{{prefix}:*}}:*" for prefix in ("taskqueue", "site", "other"))


def opened(address, *servers):
    """The queues of one test, by the clock of this process."""
    for server in servers:
        server.ask("FLUSHALL")
    with clock_of_this_process():
        opener = Opener(**address)
        yield opener
        opener.close()


# ---- a socket ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def plain():
    with Server(databases=2) as server:
        yield server


class TestUnixSocket(Connecting, BackendContract):
    @pytest.fixture
    def open_queue(self, plain):
        yield from opened({"unix_socket_path": plain.socket_path}, plain)


def test_a_url_leads_to_the_same_tasks(plain):
    plain.ask("FLUSHALL")
    publish(Opener(**plain.address, db=1)(), record())
    assert len(Opener(url=f"redis://127.0.0.1:{plain.port}/1")()) == 1
    assert len(Opener(url=f"unix://{plain.socket_path}")()) == 0


def test_two_sites_on_one_database_never_meet(plain):
    """The names are chosen so that their parts, put together without care, would be the same."""
    plain.ask("FLUSHALL")
    opener = Opener(**plain.address)
    queues = [opener(prefix=prefix, name=name) for prefix, name in (("a", "b-c"), ("a-b", "c"), ("a.b", "c"))]
    given = record()
    for number, queue in enumerate(queues):
        beat(queue, f"owner-{number}")
        stage(queue, record(), owner_id=f"owner-{number}")
        publish(queue, given)
        queue.pause()
        queue.resume()
    for number, queue in enumerate(queues):
        assert [status.owner.id for status in queue.owners()] == [f"owner-{number}"]
        assert claim_one(queue, owner_id=f"owner-{number}").id == given.id
        assert queue.counts().states["staged"] == 1
    opener.close()


# ---- an ACL user ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    password = tmp_path_factory.mktemp("password") / "password"
    password.write_text(f"{PASSWORD}\n")
    with Server() as server:
        server.ask("ACL", "SETUSER", "ada", "on", f">{PASSWORD}", *PATTERNS.split(), *RIGHTS.split())
        server.ask("ACL", "SETUSER", "guest", "on", ">guest", "+@all", "~other:*")
        server.ask("CONFIG", "SET", "requirepass", PASSWORD)
        server.password_file = password
        yield server


@pytest.fixture
def open_guarded(guarded):
    guarded.ask("FLUSHALL", password=PASSWORD)
    yield from opened({**guarded.address, "user": "ada", "password": PASSWORD})


class TestUserWithRights(Connecting, BackendContract):
    @pytest.fixture
    def open_queue(self, open_guarded):
        return open_guarded


def test_a_password_may_come_from_a_file(guarded):
    queue = Opener(**guarded.address, password_file=guarded.password_file)()
    assert queue.counts().paused is False
    queue.close()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "asks for a password; set password"),
        ({"password": "wrong"}, "refuses this user or password"),
        ({"user": "nobody", "password": PASSWORD}, "refuses this user or password"),
        ({"user": "guest", "password": "guest"}, "this user lacks a right"),
    ],
)
def test_who_may_not_enter_is_told_why_and_no_password(guarded, options, message):
    queue = Opener(**guarded.address, **options)()
    for act in (lambda: publish(queue, record()), lambda: queue.get("id"), lambda: beat(queue)):
        with pytest.raises(BackendUnavailableError, match=message) as caught:
            act()
        assert str(caught.value).startswith(f"Redis at 127.0.0.1:{guarded.port}: ")
        assert "\n" not in str(caught.value)
        assert not any(word in str(caught.value) for word in (PASSWORD, "wrong"))
    queue.close()


@pytest.mark.parametrize("missing", ["-hset", "-zadd", "-hdel", "-zrem", "-@write", "-evalsha", "resetkeys"])
def test_who_lacks_a_right_to_add_is_told_when_it_is_tried_and_leaves_nothing(guarded, open_guarded, missing):
    guarded.ask(
        *("ACL", "SETUSER", "less", "reset", "on", ">p", *PATTERNS.split(), *RIGHTS.split(), missing), password=PASSWORD
    )
    queue = Opener(**guarded.address, user="less", password="p")()
    with pytest.raises(BackendUnavailableError, match="this user lacks a right"):
        queue.try_adding(5.0)
    assert guarded.ask("KEYS", "*", password=PASSWORD) == []
    open_guarded().try_adding(5.0)
    assert guarded.ask("KEYS", "*", password=PASSWORD) == []
    queue.close()
    guarded.ask("ACL", "DELUSER", "less", password=PASSWORD)


def test_a_password_to_a_server_that_wants_none_is_told(plain):
    queue = Opener(**plain.address, password="wrong")()
    with pytest.raises(BackendUnavailableError, match="refuses this user or password"):
        len(queue)


def test_a_password_file_that_went_away_is_told(guarded, tmp_path):
    file = tmp_path / "password"
    file.write_text(PASSWORD)
    queue = Opener(**guarded.address, password_file=file)()
    file.unlink()
    with pytest.raises(BackendUnavailableError, match="password: No such file"):
        len(queue)


def test_a_database_that_there_is_not_is_told(plain):
    with pytest.raises(BackendUnavailableError, match="no database of this number; set db"):
        len(Opener(**plain.address, db=7)())


# ---- TLS -----------------------------------------------------------------------------------------------------------


def make_certificates(folder):
    """An authority, and a certificate of it for the server and one for a client."""

    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    openssl("req", "-x509", *new_key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=authority", "-days", "2")
    for name, alternative in (("server", "IP:127.0.0.1"), ("client", "DNS:client")):
        (folder / "extension").write_text(f"subjectAltName={alternative}\n")
        openssl("req", *new_key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        openssl(
            *("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"),
            *("-out", f"{name}.pem", "-days", "2", "-extfile", "extension"),
        )


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory):
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl to make a certificate")
    folder = tmp_path_factory.mktemp("tls")
    make_certificates(folder)
    with Server(
        port=0,
        tls_port=(port := free_port()),
        tls_cert_file=folder / "server.pem",
        tls_key_file=folder / "server.key",
        tls_ca_cert_file=folder / "ca.pem",
        tls_auth_clients="optional",
    ) as server:
        server.tls_address = {"host": "127.0.0.1", "port": port, "tls": True, "tls_ca_file": folder / "ca.pem"}
        server.certificates = folder
        yield server


class TestTLS(Connecting, BackendContract):
    @pytest.fixture
    def open_queue(self, encrypted):
        yield from opened(encrypted.tls_address, encrypted)


def test_a_client_may_show_a_certificate(encrypted):
    encrypted.ask("CONFIG", "SET", "tls-auth-clients", "yes")
    files = {
        "tls_cert_file": encrypted.certificates / "client.pem",
        "tls_key_file": encrypted.certificates / "client.key",
    }
    queue = Opener(**encrypted.tls_address, **files)()
    assert queue.counts().paused is False
    queue.close()
    with pytest.raises(BackendUnavailableError, match=r"Redis at 127\.0\.0\.1"):
        len(Opener(**encrypted.tls_address)())
    encrypted.ask("CONFIG", "SET", "tls-auth-clients", "no")


def test_a_certificate_of_somebody_else_is_refused(encrypted):
    address = {**encrypted.tls_address, "tls_ca_file": None}
    with pytest.raises(BackendUnavailableError, match=r"TLS certificate is not accepted \(.*; see tls_ca_file"):
        len(Opener(**address)())
    with pytest.raises(BackendUnavailableError, match=r"TLS certificate is not accepted \(.*localhost"):
        len(Opener(**{**encrypted.tls_address, "host": "localhost"})())


def test_tls_with_a_server_that_speaks_none_is_told_and_the_other_way_round(encrypted, plain):
    with pytest.raises(BackendUnavailableError, match="in time; see that it speaks TLS on this port"):
        Opener(**{**encrypted.tls_address, **plain.address})().publish([record()], 0.3)
    port = encrypted.tls_address["port"]
    with pytest.raises(BackendUnavailableError, match=f"Redis at 127.0.0.1:{port}"):
        len(Opener(host="127.0.0.1", port=port)())


# ---- a cluster -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster():
    """Three nodes, each with a third of the slots."""
    with (
        Server(cluster_enabled="yes", cluster_port=free_port()) as one,
        Server(cluster_enabled="yes", cluster_port=free_port()) as two,
        Server(cluster_enabled="yes", cluster_port=free_port()) as three,
    ):
        nodes = (one, two, three)
        for number, node in enumerate(nodes):
            node.ask("CLUSTER", "ADDSLOTSRANGE", number * 5462, min(number * 5462 + 5461, 16383))
            one.ask("CLUSTER", "MEET", "127.0.0.1", node.port, node.cluster_port)
        for node in nodes:
            node.expect("Cluster state changed: ok")
        yield nodes


class TestCluster(Connecting, BackendContract):
    @pytest.fixture
    def open_queue(self, cluster):
        yield from opened(cluster[0].address, *cluster)


def test_all_keys_of_a_queue_are_in_one_slot(cluster):
    for prefix, name in (("taskqueue", "default"), ("site-2", "mail.in"), ("a", "b")):
        keyspace = Keyspace(prefix, name)
        keys = {key for script in SCRIPTS.values() for key in keyspace.of(script)}
        assert len(keys) > 20
        assert len({cluster[0].ask("CLUSTER", "KEYSLOT", key) for key in keys}) == 1


def test_queues_are_found_on_whatever_node_they_are(cluster):
    opener = Opener(**cluster[0].address)
    queues = [opener(name=f"queue-{number}") for number in range(9)]
    for queue in queues:
        beat(queue)
        publish(queue, record())
    assert all(node.ask("DBSIZE") > 0 for node in cluster)
    assert all(len(claim(queue)) == 1 for queue in queues)
    opener.close()


def test_who_waits_in_a_cluster_is_woken_by_another_process(cluster):
    opener = Opener(**cluster[0].address)
    for number in range(4):
        one, two = opener(name=f"hinted-{number}"), opener(name=f"hinted-{number}")
        claim(one, owner_id=OTHER)
        seen = one.wait(one.wait(0, 0.0), DEADLINE)
        two.publish([record()], 5.0)
        assert one.wait(seen, DEADLINE) != seen
        assert claim_one(one, owner_id=OWNER)
    opener.close()
