"""Mutations of what stands above the backends, which the machine of whole transactions has to notice."""

MACHINE = ("../proof/test_machine.py",)
DATA_MANAGER = "../producer/datamanager.py"

# (file, seen from backends/, old text, new text, the rule that it breaks)
TRANSACTION_MUTATIONS = [
    (DATA_MANAGER, "self._discard(entries)\n        finally", "pass\n        finally", "an abort discards"),
    (DATA_MANAGER, "self._phase = _Phase.VOTED\n", "pass\n", "what fails after the vote is held"),
    (DATA_MANAGER, "del self._entries[count:]", "pass", "a rollback cuts off what was added later"),
    (DATA_MANAGER, "~!taskqueue:", "~taskqueue:", "the vote comes before those that commit in theirs"),
    (DATA_MANAGER, "self._sent.update(ids)", "pass", "what may have been staged is discarded"),
    (DATA_MANAGER, "if time.monotonic() >= self._leases_end_at:", "if False:", "a process that stood still looks"),
    ("../producer/handing_over.py", "if not is_published(queue, records):", "if True:", "a lost answer is looked for"),
    ("../doubts.py", 'if "yes" in said.values():', "if False:", "one yes is yes"),
    ("../doubts.py", 'Decision(None, f"it may still', 'Decision("discard", f"it may still', "not yet is asked again"),
    ("../doubts.py", "    if strangers:\n", "    if False:\n", "what nobody can be asked about is held"),
    (
        "../witnesses/__init__.py",
        "tuple(sorted({_type_name(each) for each in left}))",
        "()",
        "those whom nobody recognises are noted",
    ),
    (
        "../keeper.py",
        "self._publish_again(kept)\n            self._settle",
        "self._settle",
        "the keeper publishes again",
    ),
]
TRANSACTION_FILES = {file: MACHINE for file, *_ in TRANSACTION_MUTATIONS}
