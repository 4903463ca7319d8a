"""A site whose queue is in Redis is tested without one."""

import taskqueue
from taskqueue.testing import assert_added, captured, run_all

from .sites import request


def test_a_capture_needs_no_server(make_site, tmp_path):
    ran = []
    site = make_site(
        {"/order": lambda environ: taskqueue.add("/mail") and None, "/mail": lambda environ: ran.append("/mail")},
        queues={"default": {"type": "redis", "unix_socket_path": str(tmp_path / "nobody.sock")}},
    )
    with captured():
        assert request(site, "/order").startswith("200")
        assert_added("/mail")
        run_all(site)
    assert ran == ["/mail"]
