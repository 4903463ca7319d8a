"""Breaks the rules of the backends one by one, and tells which of them no test misses.

    python tests/backends/mutations.py [--model] [words | --none]

Each mutation is made in a copy of the package, and the tests of the backends concerned run against it until one fails.
With ``--model`` only the comparison with the model runs; with words, only mutations whose rule contains one of them,
with ``--none`` none: that only tells whether all can still be made.
The random comparison with the model is left out otherwise, so that every rule has a test of its own.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from mutations_redis import REDIS_FILES, REDIS_MUTATIONS, VERBS
from mutations_transactions import TRANSACTION_FILES, TRANSACTION_MUTATIONS

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "taskqueue"
LOCAL = ("test_local.py",)
SQLITE = (
    "test_rowclaims.py",
    "test_rowexchanges.py",
    "test_rowsettlements.py",
    "test_sqlite.py",
    "test_sqlite_faults.py",
    "test_sqlite_processes.py",
)
EITHER = (*LOCAL, *SQLITE)
BY_FILE = {
    "shelf.py": LOCAL,
    "local.py": LOCAL,
    "rules.py": EITHER,
    "hints.py": ("test_hints.py",),
    "filesystem.py": SQLITE,
    "filehints.py": ("test_filehints.py", "test_sqlite.py", "test_sqlite_processes.py"),
    "filepipes.py": ("test_filepipes.py",),
    **REDIS_FILES,
    **TRANSACTION_FILES,
    **{file: VERBS for file, *_ in REDIS_MUTATIONS if file.startswith("lua/")},
    "lua/try_adding.lua": (*VERBS, "test_redis_doors.py"),  # who lacks a right
}
GONE_CHECK = " AND gone_at > :remembered_since)"

# (file in backends/, old text, new text, the rule that it breaks)
MUTATIONS = [
    # ---- local ----
    ("shelf.py", "if (before, verb, state) not in _STEPS:", "if False:", "only steps of the table are taken"),
    ("shelf.py", "self._gone[record.id] = now", "pass", "gone ids are remembered"),
    ("shelf.py", "< rules.GONE_SECONDS else None", "< 60 else None", "gone ids are remembered for an hour"),
    ("shelf.py", "return State.GONE if now", "return State.GONE if 1 or now", "gone ids are forgotten after an hour"),
    ("shelf.py", "del self._gone[task_id]", "pass", "prune forgets ids that were remembered for an hour"),
    ("shelf.py", "(-record.priority, record.id)", "(record.priority, record.id)", "higher priority first"),
    ("shelf.py", "(-record.priority, record.id)", "(-record.priority, record.id[::-1])", "the older id first"),
    ("shelf.py", "record.claim_number != settlement.claim_number", "False", "an old claim number is refused"),
    ("shelf.py", "claim_number=record.claim_number + 1", "claim_number=1", "the claim number grows"),
    ("shelf.py", "first_claimed_at=record.first_claimed_at or now", "first_claimed_at=now", "the first claim stays"),
    ("shelf.py", 'changes["suspect"] = False', "pass", "a suspect that ran is one no more"),
    ("shelf.py", "if settlement.started:", "if True:", "what did not start keeps its suspicion"),
    ("shelf.py", "record.attempts + settlement.attempts", "settlement.attempts", "attempts add up"),
    ("shelf.py", "if settlement.outcome is not None:", "if True:", "no outcome leaves the last one"),
    ("shelf.py", "if settlement.wipe:", "if False:", "wiping forgets the secrets"),
    ("shelf.py", '            changes["finished_at"] = now', "            pass", "done and dead have a time"),
    ("shelf.py", "suspect is not None and alone and", "suspect is not None and", "a suspect needs an idle consumer"),
    ("shelf.py", "wanted > 0 and (first", "(first", "who wants nothing gets no suspect"),
    ("shelf.py", "(first is None or rules.comes_before(suspect, first))", "True", "suspects keep to the order"),
    ("shelf.py", '"suspect": True, "owner"', '"suspect": False, "owner"', "what the dead ran is suspect"),
    ("shelf.py", "due = self.records.get(record.id, record).due", "due = 0.0", "what is due later is scheduled"),
    ("shelf.py", "and record.due <= now", "and True", "nothing is promoted before it is due"),
    ("shelf.py", "if record.secrets is None:\n            return False", "pass", "a wiped task stays dead"),
    ("shelf.py", '{"attempts": 0, "deaths": 0,', '{"deaths": 0,', "requeue resets attempts"),
    ("shelf.py", '"deaths": 0, "suspect": False, "first', '"suspect": False, "first', "requeue resets deaths"),
    ("shelf.py", '"suspect": False, "first_claimed_at": None', '"first_claimed_at": None', "requeue clears suspicion"),
    ("shelf.py", '"first_claimed_at": None, "finished_at"', '"finished_at"', "requeue resets the first claim"),
    ("shelf.py", "State.READY, now, due=now, **fresh", "State.READY, now, **fresh", "requeue resets the due time"),
    ("shelf.py", "wipable[: rules.PRUNE_LIMIT]:", "[]:", "prune wipes"),
    ("shelf.py", "now + max(0.0, settlement.delay)", "now", "a retry waits for its delay"),
    (
        "shelf.py",
        'self.step(record, "release", State.READY, now, owner="", consumer="", first',
        'self.step(record, "release", State.READY, now, suspect=False, first',
        "release changes nothing else",
    ),
    ("local.py", "wanted = 0 if self._paused else min", "wanted = min", "a paused queue hands out nothing"),
    ("local.py", "min(wanted, CLAIM_COUNT_LIMIT)", "wanted", "a hundred tasks at most"),
    ("local.py", "and record.consumer == consumer", "", "release is for one consumer"),
    ("local.py", "and record.id not in holding", "", "release spares what is held"),
    ("local.py", "self._retired.discard(owner.id)", "pass", "a beat makes alive again"),
    ("local.py", "if each.owner in self._retired]", "]", "the living lose nothing"),
    ("local.py", "rank < surplus or", "", "the newest done tasks are kept, by count"),
    ("local.py", "record.finished_at or 0.0, record.id)", "record.id, 0)", "newest is who finished last"),
    ("local.py", "records[: rules.PRUNE_LIMIT]", "records", "prune is bounded"),
    ("local.py", "queue._start_empty()", "pass", "a forked child starts empty"),
    (
        "local.py",
        "max(each.published_at or 0.0, each.due)",
        "(each.published_at or 0.0)",
        "age counts from the due time",
    ),
    ("local.py", "record.id < after if newest_first else", "", "newest-first pages go down"),
    ("local.py", "if new and self._length_limit", "if self._length_limit", "known ids pass a full queue"),
    # ---- both ----
    ("rules.py", "deaths += suspect", "deaths += 1", "only the deaths of suspects count"),
    ("rules.py", "if not suspect or deaths < max_deaths:", "if deaths < max_deaths:", "who is no suspect survives"),
    ("rules.py", "deaths < max_deaths:", "deaths <= max_deaths:", "max_deaths deaths are enough"),
    ("rules.py", "claimed_bytes == 0 or", "", "one task is always claimed"),
    ("rules.py", "<= CLAIM_BYTES_LIMIT", "<= 10 * CLAIM_BYTES_LIMIT", "one mebibyte at most"),
    ("rules.py", 'len(record.body) + len(record.secrets or b"")', "len(record.body)", "secrets count for the limit"),
    ("rules.py", "if waiting > length_limit:", "if False:", "a full queue refuses"),
    ("rules.py", "State.HELD, State.SCHEDULED, State.READY)", "State.READY)", "all that waits counts for the limit"),
    ("rules.py", "None if first_claimed_at == claimed_at else", "", "a claim that did not start was not the first"),
    ("rules.py", "GONE_SECONDS = 3600.0", "GONE_SECONDS = 360.0", "gone ids are remembered for an hour, everywhere"),
    ("hints.py", "self._given.notify_all()", "self._given.notify()", "everybody is woken"),
    ("hints.py", "self._number += 1", "pass", "a hint before the wait is not missed"),
    # ---- sqlite: the steps ----
    ("sql/stage.sql", GONE_CHECK, " AND 0)", "staging late changes nothing"),
    ("sql/publish.sql", GONE_CHECK, " AND 0)", "publishing late changes nothing"),
    ("sql/publish.sql", GONE_CHECK, ")", "gone ids are forgotten after an hour"),
    ("sql/publish.sql", "task.state IN ('staged', 'held')", "task.state NOT IN ('ready')", "published tasks stay"),
    ("sql/publish.sql", "IN ('staged', 'held')", "IN ('staged')", "what is held can be published"),
    ("sql/publish.sql", "iif(:due > :now", "iif(0", "what is new and due later is scheduled"),
    ("sql/publish.sql", "iif(task.due > :now", "iif(0", "what was staged and is due later is scheduled"),
    ("sql/publish.sql", ", owner = '', envelope = x''", "", "what is published has no owner"),
    ("sql/settle_publish.sql", " AND state IN ('staged', 'held')", "", "settle leaves what is decided"),
    ("sql/settle_publish.sql", "iif(due > :now", "iif(0", "settling keeps the due time"),
    ("sql/hold.sql", " AND state = 'staged'", "", "only the staged can be held"),
    ("sql/remember_gone.sql", ", :now FROM", ", :now - 7200 FROM", "gone ids are remembered"),
    ("sql/forget_gone.sql", "WHERE queue = :queue", "WHERE 0", "prune forgets gone ids after an hour"),
    ("sql/select_settled.sql", " AND task.claim_number = claim.value", "", "an old claim number is refused"),
    ("sql/select_settled.sql", " AND task.state = 'running'", "", "what runs no more is not settled"),
    (
        "sql/exchange.sql",
        " AND claimed.claim_number = json_extract(claim.value, '$[0]')",
        "",
        "an old claim is refused",
    ),
    ("sql/exchange.sql", "changes() <> NEW.tasks", "0", "what came too late is told"),
    ("sql/exchange.sql", "attempts + NEW.attempts", "NEW.attempts", "attempts add up"),
    ("sql/exchange.sql", "iif(NEW.started, 0, suspect)", "suspect", "a suspect that ran is one no more"),
    ("sql/exchange.sql", "iif(NEW.started, 0, suspect)", "0", "a suspect that did not start still is one"),
    ("sql/exchange.sql", "NOT NEW.started AND ", "", "a task that ran keeps its first claim"),
    ("sql/exchange.sql", " AND first_claimed_at = claimed_at", "", "a later claim leaves the first"),
    ("sql/exchange.sql", "NEW.outcomes IS NULL", "0", "no outcome leaves the last one"),
    ("sql/exchange.sql", "iif(NEW.wipe, NULL, secrets)", "secrets", "wiping forgets the secrets"),
    (
        "sql/exchange.sql",
        "iif(NEW.state = 'scheduled', NEW.now + json_extract(settled.claim, '$[3]'), due)",
        "due",
        "a retry waits for its delay",
    ),
    ("sql/exchange.sql", "claim_number + 1", "1", "the claim number grows"),
    ("sql/exchange.sql", "coalesce(first_claimed_at, NEW.now)", "NEW.now", "the first claim stays"),
    ("sql/exchange.sql", "priority DESC, id", "id", "higher priority first"),
    ("sql/exchange.sql", "priority DESC, id", "priority DESC, id DESC", "the older id first"),
    ("sql/exchange.sql", " WHERE size_up_to_here > NEW.bytes", " WHERE 0", "an answer has no more than a mebibyte"),
    (
        "sql/exchange.sql",
        "size_up_to_here > NEW.bytes AND place > 1",
        "size_up_to_here > NEW.bytes",
        "one is always claimed",
    ),
    ("sql/exchange.sql", "WHERE rowid = NEW.given", "WHERE 0", "suspects run"),
    ("sql/exchange.sql", "FROM chosen) <= NEW.bytes", "FROM chosen) > 0", "what is large is not kept in memory"),
    ("sql/exchange.sql", "WHERE NEW.given IS NULL AND", "WHERE", "a suspect gets no neighbours"),
    ("sql/exchange.sql", "typeof(deaths) = 'integer'", "1", "what somebody else wrote is read by itself"),
    ("sql/promote.sql", " AND due <= :now", "", "nothing is promoted before it is due"),
    (
        "sql/release.sql",
        "iif(first_claimed_at = claimed_at, NULL, first_claimed_at)",
        "NULL",
        "release keeps a first claim",
    ),
    ("sql/select_claimed.sql", " AND consumer = :consumer", "", "release is for one consumer"),
    ("sql/select_claimed.sql", " AND owner = :owner", "", "release is for one owner"),
    ("sql/reclaim.sql", "suspect = 1", "suspect = suspect", "what the dead ran is suspect"),
    ("sql/reclaim.sql", "coalesce(:outcome, outcome)", "outcome", "a death has an outcome"),
    ("sql/requeue.sql", "    attempts = 0,\n", "", "requeue resets attempts"),
    ("sql/requeue.sql", "    suspect = 0,\n", "", "requeue clears suspicion"),
    ("sql/requeue.sql", "    due = :now,\n", "", "requeue resets the due time"),
    ("sql/requeue.sql", "    first_claimed_at = NULL,\n", "", "requeue resets the first claim"),
    ("sql/select_requeuable.sql", " AND secrets IS NOT NULL", "", "requeue tells what is ready only"),
    ("sql/select_prunable_done.sql", " AND finished_at <= :before", "", "young done tasks stay"),
    ("sql/select_prunable_done.sql", "- :keep_count", "- 1000", "the newest done tasks are kept, by count"),
    (
        "sql/select_prunable_done.sql",
        "ORDER BY finished_at, id\n    LIMIT max",
        "ORDER BY id\n    LIMIT max",
        "newest is who finished last",
    ),
    ("sql/select_prunable_dead.sql", " AND finished_at <= :before", "", "young dead tasks stay"),
    ("sql/select_exposed.sql", " AND finished_at <= :before", "", "secrets are kept for a while"),
    ("sql/wipe.sql", "secrets = NULL", "secrets = secrets", "secrets of the dead are wiped"),
    ("rows.py", "    session.run(_FORGET, ids=as_json([task_id]))\n", "    pass\n", "what was tried leaves nothing"),
    ("sql/count_waiting.sql", "'staged', 'held', ", "", "all that waits counts for the limit"),
    ("sql/select_oldest_ready.sql", "max(published_at, due)", "published_at", "age counts from the due time"),
    ("sql/list_newest_first.sql", "id < :after", "id > :after", "newest-first pages go down"),
    ("sql/find_queue.sql", "prefix = :prefix AND ", "", "prefixes never meet"),
    # ---- sqlite: the verbs ----
    (
        "rowclaims.py",
        " and not rules.comes_before(suspect, first)",
        " and False",
        "suspects keep to the order",
    ),
    ("rowsettlements.py", "math.isfinite(each.claim_number)", "True", "what fits nothing keeps no other"),
    ("rowsettlements.py", '"\\0" not in each.id', "True", "what SQLite cannot be told keeps no other"),
    ("rowclaims.py", "min(wanted, CLAIM_COUNT_LIMIT)", "wanted", "a hundred tasks at most"),
    ("rowclaims.py", "len(found) != count or ", "", "what somebody else wrote is read by itself"),
    ("rowexchanges.py", "if asked.alone and seen.suspects", "if seen.suspects", "a suspect needs an idle consumer"),
    ("rowexchanges.py", "or (seen.suspects and asked.alone)", "", "a suspect is claimed when nothing else is ready"),
    ("rowexchanges.py", "seen.next_due == 0.0  #", "False  #", "what is due is claimed at once"),
    ("rowexchanges.py", "each.state == State.READY.value for", "False for", "what is given back is claimed at once"),
    ("rowexchanges.py", "delay <= 0 for", "False for", "what is due at once is claimed at once"),
    ("rowexchanges.py", "    if delays:", "    if False:", "an exchange tells when its own retries are due"),
    ("rowexchanges.py", "not seen.paused and ", "", "a paused queue hands out nothing"),
    ("rowexchanges.py", "seen.ready and not seen.paused and ", "seen.ready and ", "a paused queue hands out nothing"),
    ("rowexchanges.py", "(CameTooLateError, ValueError, OverflowError)", "OverflowError", "the late keep no other"),
    (
        "rows.py",
        "session.run(_SELECT_HELD, owners=as_json(owner_ids))",
        "session.run(_SELECT_HELD, owners=as_json([]))",
        "the dead lose what they held",
    ),
    (
        "sqlite.py",
        "if not seen.is_worth_writing(asked.wanted, asked.alone):",
        "if False:",
        "who is idle writes nothing",
    ),
    ("rows.py", "can_claim or self.next_due == 0.0", "can_claim", "an exchange promotes what is due"),
    ("sqlite.py", "if any(found.values()):", "if True:", "prune writes nothing in vain"),
    (
        "sqlite.py",
        "                self._refuse_over_limit(session)\n        self._hints.spread()",
        "                self._refuse_over_limit(session)",
        "publish wakes who waits here at once",
    ),
    (
        "sqlite.py",
        "rows.set_paused(session, False)\n        self._hints.spread()",
        "rows.set_paused(session, False)",
        "resume wakes who waits here at once",
    ),
    (
        "filehints.py",
        "self.give()\n        pipe",
        "return self.give()\n        pipe",
        "another process wakes who waits here",
    ),
    ("filehints.py", "elif self._has_changed():", "elif False:", "who has no pipe looks"),
    ("filehints.py", "            if self._pipe.is_in_place():", "            if True:", "a deleted pipe is made anew"),
    ("filehints.py", "            pipe.let_go()", "            pass", "a forked child lets go of its parent's pipe"),
    ("filepipes.py", "os.unlink(name, dir_fd=folder)", "pass", "what the dead leave is deleted"),
    ("filepipes.py", "os.O_NONBLOCK | os.O_NOFOLLOW", "os.O_NONBLOCK", "no symbolic link is followed"),
    ("filepipes.py", "stat.S_ISFIFO(found.st_mode) and ", "", "only pipes are written"),
    ("filepipes.py", " and found.st_uid in owners", "", "the pipes of strangers are not written"),
    ("filepipes.py", "if not is_ours or found.st_mode", "if found.st_mode", "the folders of strangers are not used"),
    ("filepipes.py", "found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)", "False", "others cannot write to the folder"),
    (
        "filepipes.py",
        "os.open(name, os.O_RDONLY | _FLAGS, dir_fd=folder)",
        "os.dup(writing)",
        "no signal kills a writer",
    ),
    ("sqlite.py", "if len(chosen) < PURGE_LIMIT:", "if True:", "a purge takes however many there are"),
    (
        "sqlite.py",
        "if rows.stage(session, records, envelope, owner_id, time.time()):",
        "if rows.stage(session, records, envelope, owner_id, time.time()) or True:",
        "known ids pass a full queue",
    ),
    ("sqlite.py", "return not retired and ", "return ", "a retired owner is dead at once"),
    ("sqlite.py", "self._owner_locks.hold(owner.id, deadline)", "pass", "an owner is alive while its process lives"),
    ("sqlite.py", "self._owner_locks.forget(owner_id)", "pass", "the files of the dead are deleted"),
    ("sqlite.py", "self._owner_locks.release_all()", "pass", "closing ends the leases"),
    ("filehints.py", "        hints.forget()", "        pass", "a forked child waits with a lock of its own"),
    ("sqlite.py", "os.path.abspath(path)", "str(path)", "a path is absolute from the beginning"),
    # ---- sqlite: the file ----
    ("sessions.py", 'f"synchronous = {synchronous}"', '"synchronous = NORMAL"', "every commit reaches the disk"),
    ("sessions.py", '"wal_autocheckpoint = 0"', '"wal_autocheckpoint = 1000"', "who reads copies no log"),
    ("sessions.py", "{checkpoint_bytes // page_bytes}", "0", "the log is copied into the file when it has grown"),
    ("sessions.py", '"secure_delete = ON"', '"secure_delete = OFF"', "wiped secrets leave the file"),
    (
        "database.py",
        "with self._write_lock.held(deadline):\n            yield",
        "yield",
        "writers take turns under the lock file",
    ),
    ("sessions.py", "int(deadline.remaining() * 1000)", "60000", "SQLite waits no longer than allowed"),
    (
        "database.py",
        "is_held = slot.lock.acquire(timeout=deadline.remaining())",
        "is_held = slot.lock.acquire(timeout=60)",
        "threads wait no longer than allowed",
    ),
    (
        "filelocks.py",
        "if remaining <= 0:\n            return False",
        "if False:\n            return False",
        "the lock is waited for no longer than allowed",
    ),
    ("database.py", "if self._identity in {None, found}:", "if True:", "a deleted file is told"),
    (
        "database.py",
        "            self._identity = None\n            self._is_replaced = True",
        "            self._is_replaced = True",
        "a deleted file is told once",
    ),
    (
        "database.py",
        "self._is_replaced and self._log is not None and identify(self._log_path) == self._log",
        "False",
        "a replaced file does not get the log of the other",
    ),
    (
        "database.py",
        "            slot.discard()\n            self._has_failed = True",
        "            pass",
        "a connection that failed is thrown away",
    ),
    (
        "database.py",
        "_discard_idle(self.path)\n        if",
        "pass\n        if",
        "a file that can be written again is found out",
    ),
    ("database.py", "os.chmod(companion, mode)", "pass", "the log can be written when the file can"),
    (
        "database.py",
        "except (sqlite3.Error, OSError) as error:\n            slot",
        "except OSError as error:\n            slot",
        "SQLite's errors become ours",
    ),
    (
        "database.py",
        "except (sqlite3.Error, OSError) as error:\n            slot",
        "except sqlite3.Error as error:\n            slot",
        "the system's errors become ours",
    ),
    ("filesystem.py", "os.O_NOFOLLOW, 0o600)", "os.O_NOFOLLOW, 0o666)", "files are for their user alone"),
    ("filesystem.py", "os.mkdir(path, 0o700)", "os.mkdir(path, 0o777)", "the directory is for its user alone"),
    ("filesystem.py", "if folder.st_uid != 0:", "if False:", "what root makes belongs to the owner of the folder"),
    (
        "filelocks.py",
        "        os.close(held.descriptor)\n    _held.clear()",
        "        pass\n    _held.clear()",
        "a forked child keeps no owner alive",
    ),
    ("filelocks.py", "if is_at(self._path, self._file):", "if True:", "a deleted lock file is made anew"),
    (
        "filelocks.py",
        "if held is not None and is_at(path, held.descriptor):",
        "if held is not None:",
        "a deleted owner's file is taken again",
    ),
    (
        "filelocks.py",
        'name = owner_id if re.fullmatch(r"[A-Za-z0-9_-]{1,64}", owner_id) else _digest(owner_id)',
        "name = owner_id",
        "no id leads out of the directory",
    ),
    (
        "filelocks.py",
        "            if not held.users:\n",
        "            if True:\n",
        "a lock lasts as long as one queue holds it",
    ),
    (
        "database.py",
        "                slot.discard()\n            elif",
        "                pass\n            elif",
        "no connection is open across a fork",
    ),
    (
        "database.py",
        "database._forked_in_use = database in in_use",
        "database._forked_in_use = False",
        "who was forked in a write refuses",
    ),
    (
        "database.py",
        "if log_bytes < self._empty_log_at and self._empty_log_due.remaining() > 0:",
        "if self._empty_log_due.remaining() > 0:",
        "a log that readers have kept is emptied",
    ),
    (
        "database.py",
        "if log_bytes < self._empty_log_at and self._empty_log_due.remaining() > 0:",
        "if log_bytes < self._empty_log_at:",
        "the log is emptied after a while",
    ),
    ("filesystem.py", "if kind in NETWORK_TYPES:", "if False:", "network file systems are refused"),
    ("schema.py", "if version > SCHEMA_VERSION:", "if False:", "newer files are refused"),
    ("schema.py", 'if not {"meta", "queue", "task"} <= tables:', "if False:", "other databases are refused"),
]


def main(arguments):
    """Run the mutations that were asked for; returns how many survive."""
    with_model = "--model" in arguments
    words = [word for word in arguments if word != "--model"]
    every = (*MUTATIONS, *REDIS_MUTATIONS, *TRANSACTION_MUTATIONS)
    for outdated in (each for each in every if each[1] not in _text(each[0])):
        sys.exit(f"{outdated[0]} does not contain {outdated[1]!r}: the mutation for {outdated[3]!r} is out of date")
    if words == ["--none"]:
        print(f"{len(every)} mutations can be made")
        return 0
    chosen = [each for each in every if not words or any(word in each[3] for word in words)]
    survivors = [each for each in chosen if not _is_noticed(*each, with_model=with_model)]
    print(f"{len(chosen)} mutations, {len(survivors)} survive")
    for file, old, new, rule in survivors:
        print(f"  SURVIVES: {rule} ({file}: {old!r} -> {new!r})")
    return len(survivors)


def _text(file):
    return (PACKAGE / "backends" / file).read_text("utf-8")


def _is_noticed(file, old, new, rule, with_model):
    with tempfile.TemporaryDirectory(prefix="taskqueue-mutation-") as folder:
        copy = Path(folder) / "taskqueue"
        shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
        target = copy / "backends" / file
        target.write_text(_text(file).replace(old, new), "utf-8")
        failed = _first_failure(folder, BY_FILE.get(file, SQLITE), with_model)
    print(f"{'noticed' if failed else 'SURVIVES'}: {rule}{f' [{failed}]' if failed else ''}", flush=True)
    return bool(failed)


def _first_failure(folder, files, with_model):
    """The first test that fails with the package in that folder; empty when all pass."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--no-header", "--tb=no"]
    command += ["-k", "AsTheModel" if with_model else "not AsTheModel", "--timeout=40"]
    command += [str(ROOT / "tests" / "backends" / name) for name in files]
    environment = {**os.environ, "PYTHONPATH": folder, "PYTHONDONTWRITEBYTECODE": "1", "TASKQUEUE_PROOF": "mutated"}
    with open(Path(folder) / "output", "w+") as output:  # not a pipe: a process that a test leaves behind would hold it
        status = subprocess.run(
            command, cwd=ROOT, env=environment, stdout=output, stderr=output, check=False
        ).returncode
        output.seek(0)
        lines = [line.strip() for line in output if line.startswith(("FAILED", "ERROR"))]
    if status == 0:
        return ""
    return lines[0].partition("::")[2].partition(" - ")[0] if lines else f"status {status}"


if __name__ == "__main__":
    sys.exit(1 if main(sys.argv[1:]) else 0)
