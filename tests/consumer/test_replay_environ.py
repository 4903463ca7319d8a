"""What environs of replays have in common, and what must never be common to them."""

from __future__ import annotations

from typing import Any

import webob

from taskqueue.consumer.acknowledge import Acknowledgement
from taskqueue.consumer.replay import CACHED_SITES, _of_common_site, _variables, build_environ
from taskqueue.record import CACHED_NAMES, Task

from .fakes import make_task


def environ_of(task: Task) -> dict[str, Any]:
    return build_environ(task, Acknowledgement())


def test_what_one_application_does_to_its_environ_is_not_in_the_next_one():
    task = make_task("/a", base_url="https://www.example.org/site")
    first = environ_of(task)
    untouched = {key: value for key, value in first.items() if type(value) in {str, bool, tuple}}
    for key in first:
        first[key] = "changed"
    assert untouched.items() <= environ_of(task).items()


def test_a_header_that_comes_twice_is_joined_and_one_for_the_host_takes_its_place():
    headers = (("Accept", "a"), ("accept", "b"), ("Cookie", "c=1"), ("Cookie", "d=2"), ("Host", "other.example"))
    environ = environ_of(make_task("/", base_url="https://www.example.org", headers=headers))
    assert environ["HTTP_ACCEPT"] == "a, b"
    assert environ["HTTP_COOKIE"] == "c=1; d=2"
    assert environ["HTTP_HOST"] == "other.example"


def test_names_and_sites_that_somebody_makes_up_do_not_fill_the_memory():
    for number in range(2000):
        headers = ((f"X-{number}", "a"), ("X-" + "b" * 5000 + str(number), "c"))
        environ_of(make_task("/", base_url=f"https://host{number}.example", headers=headers))
    assert 0 < len(_variables) <= CACHED_NAMES
    assert _of_common_site.cache_info().currsize <= CACHED_SITES


def test_a_user_and_password_in_the_url_of_a_site_are_not_kept():
    before = _of_common_site.cache_info()
    assert environ_of(make_task("/", base_url="https://anna:secret@host.example"))["HTTP_HOST"] == "host.example"
    assert _of_common_site.cache_info() == before


def test_webob_reads_the_body_where_it_is():
    request = webob.Request(environ_of(make_task("/", payload=b"abc")))
    stream = request.environ["wsgi.input"]
    assert (request.body, request.body, request.environ["wsgi.input"] is stream) == (b"abc", b"abc", True)
