"""What ``check`` says of a Redis server."""

from taskqueue.cli import main

from ..backends.redis_server import Server


def test_what_endangers_tasks_is_a_warning(tmp_path, capsys):
    with Server(maxmemory_policy="allkeys-lru") as server:
        options = "\n".join(f"{name} = {value}" for name, value in server.address.items())
        (tmp_path / "app.ini").write_text(f"[taskqueue:default]\ntype = redis\n{options}\n[taskqueue-server:default]\n")
        assert main(["check", str(tmp_path / "app.ini")]) == 0
    printed = capsys.readouterr().out
    assert "its maxmemory-policy is allkeys-lru, so that it may evict tasks" in printed
    assert "it saves nothing to disk" in printed
