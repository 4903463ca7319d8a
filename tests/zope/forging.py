"""What an anonymous visitor may send in order to be somebody: a thousand requests through the pipeline of a zope.ini.

Run in a process of its own (``python -m tests.zope.forging zope.ini``), without a socket: each environ is as a server
makes it, whatever the client sent. Each request adds a task, and shows as whom it came in itself. Prints what they saw.
"""

import io
import itertools
import json
import random
import sys
import urllib.parse

from paste.deploy import loadapp

from taskqueue.context import TASK_KEY

COUNT = 1000
NAMES = (
    *("X-Task-User-Id", "X-Task-Id", "X-Task-Queue", "X-Task-Attempt", "X-Task-User", "X-Task-Principal"),
    *("X-Task-Token", "X-TaskQueue-User-Id", "X-Taskqueue-Task", "Task-User-Id", "Idempotency-Key"),
    *("taskqueue.task", "taskqueue.acknowledgement", "taskqueue-task", "AUTHENTICATED_USER", "X-Authenticated-User"),
)
USERS = ("admin", "max-id", "max", "joe-id", "joe", "uma", "019a4f6e-53c2-7e01-8d4c-1f2e3d4c5b6a")
LOOKALIKES = {"X": "\u0425", "T": "\u0422", "a": "\u0430", "s": "\uff53", "k": "\u212a", "-": "\u2010", "I": "\u0131"}


def spellings():
    """The names as they are, and neighbours of them, for ever, none twice: the same ones in each run."""
    chance = random.Random(5)
    given = dict.fromkeys(NAMES)
    yield from NAMES
    while True:
        name = chance.choice(NAMES)
        for change in chance.sample(CHANGES, chance.randint(1, 3)):
            name = change(name, chance)
        if name not in given:
            given[name] = None
            yield name


def other_case(name, chance):
    return "".join(chance.choice((each.lower(), each.upper())) for each in name)


def other_hyphens(name, chance):
    return "".join(chance.choice("-_") if each in "-_" else each for each in name)


def doubled_hyphens(name, _chance):
    return name.replace("-", "--").replace("_", "__")


def with_prefix(name, chance):
    return chance.choice(("HTTP-", "HTTP_", "X-", "Http-X-", "x_", "_", "-", "REDIRECT_")) + name


def with_suffix(name, chance):
    return name + chance.choice(("-", "_", ".", "2", "-Id", " ", "\t", "\x00", ":"))


def lookalike(name, chance):
    """A letter that looks the same, or folds to the same; its bytes as latin-1, as servers hand them on."""
    letter = chance.choice(tuple(LOOKALIKES))
    return name.replace(letter, LOOKALIKES[letter].encode().decode("latin-1"))


def without_hyphens(name, _chance):
    return name.replace("-", "").replace("_", "")


CHANGES = (other_case, other_hyphens, doubled_hyphens, with_prefix, with_suffix, lookalike, without_hyphens)


def environ_of(number, name, user):
    """The request of an anonymous visitor who gives a user's id by this name, in every place that is a visitor's."""
    queue = ("default", "trusted")[number % 2]
    query = {"task": f"/elsewhere/@@note?mark=forged{number}", "queue": queue, name: user}
    header = "HTTP_" + name.upper().replace("-", "_")
    return {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/elsewhere/@@add",
        "QUERY_STRING": urllib.parse.urlencode(query),
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "localhost",
        "HTTP_COOKIE": f"taskqueue={user}; X-Task-User-Id={user}",
        header: user,
        f"HTTP_{name}": user,  # of a server that folds less
        TASK_KEY: user,  # which no server sets: a word is no task
        "HTTP_X_TASK_USER_ID": user,
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }


def answer_to(application, environ):
    started = []
    response = application(environ, lambda status, headers, exc_info=None: started.append(status))
    try:
        page = b"".join(response)
    finally:
        getattr(response, "close", lambda: None)()
    return started[-1], page.decode()


def main(ini):
    application = loadapp(f"config:{ini}")
    seen = []
    for number, name in enumerate(itertools.islice(spellings(), COUNT)):
        status, page = answer_to(application, environ_of(number, name, USERS[number % len(USERS)]))
        seen.append({"name": name, "status": status, **(json.loads(page) if status.startswith("200") else {})})
    print(json.dumps(seen))


if __name__ == "__main__":
    main(sys.argv[1])
