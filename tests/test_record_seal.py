"""What a store may hand back instead of a record, by accident or by intent."""

from __future__ import annotations

import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskqueue.errors import BrokenSealError, RecordError, UnknownRecordError
from taskqueue.interfaces import Record
from taskqueue.record import KIND, VERSION, Keyring, Outcome, decode, encode, encode_part, new_id

from .making_records import KEY, OLD_KEY, OTHER_KEY, SECRETS, body_of, change, make_task, parts_of

# ---- the seal ----------------------------------------------------------------------------------------------------


def test_no_changed_byte_is_accepted() -> None:
    keyring = Keyring([KEY, OLD_KEY])
    record = encode(make_task(), keyring)
    assert record.secrets is not None
    decode(record, keyring)
    accepted = []
    for part, data in (("body", record.body), ("secrets", record.secrets)):
        for index in range(len(data)):
            for flip in (0x01, 0x80, 0xFF):
                changed = data[:index] + bytes([data[index] ^ flip]) + data[index + 1 :]
                try:
                    decode(change(record, **{part: changed}), keyring)
                except RecordError:
                    continue
                accepted.append((part, index, flip))
    assert accepted == []


@pytest.mark.parametrize("part", ["body", "secrets"])
def test_records_that_swapped_a_part_are_not_accepted(part: str) -> None:
    keyring = Keyring([KEY])
    one, other = encode(make_task(), keyring), encode(make_task(url="/other", payload=b"other"), keyring)
    with pytest.raises(BrokenSealError):
        decode(change(one, **{part: getattr(other, part)}), keyring)


@pytest.mark.parametrize("keyring", [Keyring(), Keyring([KEY])])
def test_a_whole_record_under_the_id_of_another_is_not_accepted(keyring: Keyring) -> None:
    one, other = encode(make_task(), keyring), encode(make_task(), keyring)
    with pytest.raises(BrokenSealError, match="another task's id"):
        decode(change(other, id=one.id), keyring)


def test_secrets_that_were_emptied_are_not_accepted() -> None:
    keyring = Keyring([KEY])
    with pytest.raises(BrokenSealError):
        decode(change(encode(make_task(), keyring), secrets=b""), keyring)


def test_a_byte_that_moves_from_one_part_to_the_next_is_not_accepted() -> None:
    keyring = Keyring([KEY])
    seals = {keyring.seal(*parts) for parts in (("k", b"ab", b"c"), ("k", b"a", b"bc"), ("ka", b"b", b"c"))}
    assert len(seals) == 3


def test_the_newest_key_seals_and_older_ones_still_open() -> None:
    old = encode(make_task(), Keyring([OLD_KEY]))
    rotated = Keyring([KEY, OLD_KEY])
    assert decode(old, rotated).url == "/send?to=a"
    assert decode(encode(make_task(), rotated), Keyring([KEY])).url == "/send?to=a"


def test_an_unknown_key_is_told_apart_from_a_broken_seal() -> None:
    record = encode(make_task(), Keyring([OTHER_KEY]))
    with pytest.raises(UnknownRecordError, match="add that key after the newest one"):
        decode(record, Keyring([KEY, OLD_KEY]))


def test_a_key_id_from_the_store_cannot_write_lines_into_the_log() -> None:
    version, kind, _key_id, seal, fields = parts_of(encode(make_task(), Keyring([KEY])))
    forged = body_of((version, kind, "\n2026 ERROR all is lost" * 100, seal, fields))
    record = encode(make_task(), Keyring([KEY]))
    with pytest.raises(UnknownRecordError) as caught:
        decode(change(record, body=forged), Keyring([KEY]))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_an_unsealed_record_is_not_accepted_by_who_has_keys() -> None:
    record = encode(make_task(), Keyring())
    assert decode(record, Keyring()).method == "POST"
    with pytest.raises(BrokenSealError, match="no seal"):
        decode(record, Keyring([KEY]))


def test_a_sealed_record_is_read_by_who_has_no_keys() -> None:
    assert decode(encode(make_task(), Keyring([KEY])), Keyring()).method == "POST"


def test_looking_needs_no_key() -> None:
    assert decode(encode(make_task(), Keyring([KEY])), None).payload == SECRETS[2].encode()


def test_short_keys_are_refused_and_not_shown() -> None:
    with pytest.raises(ValueError, match="32 or more") as caught:
        Keyring([b"hunter2"])
    assert "hunter2" not in str(caught.value)


def test_a_keyring_does_not_show_its_keys() -> None:
    keyring = Keyring([b"hunter2" * 5])
    assert "hunter2" not in repr(keyring) + str(vars(keyring).keys())
    assert bool(keyring)
    assert not Keyring()


# ---- what cannot be read -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "parts",
    [
        (VERSION + 1, KIND, "", b"", b""),
        (VERSION, "mail", "", b"", b""),
        (0, KIND, "", b"", b""),
        (VERSION + 1, KIND),
        (VERSION + 1, {"kind": "request"}, "more", "parts", 5, 6, 7),
        (VERSION + 1,),
    ],
)
@pytest.mark.parametrize("keyring", [None, Keyring(), Keyring([KEY])])
def test_an_unknown_version_or_kind_is_left_for_who_knows_it(
    parts: tuple[object, ...], keyring: Keyring | None
) -> None:
    record = change(encode(make_task(), Keyring()), body=body_of(parts))
    with pytest.raises(UnknownRecordError, match="upgrade this instance"):
        decode(record, keyring)


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"\xc1", b"\x90", body_of(()), body_of((VERSION,))),
        *(body_of((VERSION, KIND, "", b"")), body_of(("1",) * 5)),
        b"\x91" * 5000,
        b"\x81\xa1x" * 5000,
        b"\xdd\xff\xff\xff\xff",
        b"\x95\x01\xa7request\xa2\xff\xfe\xc4\x00\xc4\x00",
    ],
)
def test_what_is_no_record_at_all_is_a_record_error(body: bytes) -> None:
    with pytest.raises(RecordError) as caught:
        decode(change(encode(make_task(), Keyring()), body=body), Keyring())
    assert not isinstance(caught.value, (UnknownRecordError, BrokenSealError))


@pytest.mark.parametrize("nested", [b"\x91" * 5000 + b"\x01", b"\x81\xa1x" * 5000 + b"\x01"])
@pytest.mark.parametrize("part", ["secrets", "outcome", "fields"])
def test_nesting_without_end_is_a_record_error(part: str, nested: bytes) -> None:
    record = encode(make_task(), Keyring())
    hostile = b"\x81\xa1z" + nested
    if part == "fields":
        version, kind, key_id, seal, _fields = parts_of(record)
        record = change(record, body=body_of((version, kind, key_id, seal, hostile)))
    else:
        record = change(record, **{part: hostile})
    with pytest.raises(RecordError):
        decode(record, None)


@pytest.mark.parametrize("found", ["text", 5, 1.5])
@pytest.mark.parametrize("part", ["body", "secrets", "outcome"])
@pytest.mark.parametrize("keyring", [None, Keyring([KEY])])
def test_what_is_not_even_bytes_is_a_record_error(part: str, found: object, keyring: Keyring | None) -> None:
    with pytest.raises(RecordError):
        decode(change(encode(make_task(), Keyring([KEY])), **{part: found}), keyring)


def mutated(data: bytes, chance: random.Random) -> bytes:
    mutant = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        mutant[chance.randrange(len(mutant))] = chance.randrange(256)
    if chance.random() < 0.3:
        del mutant[chance.randrange(len(mutant)) :]
    return bytes(mutant)


@pytest.mark.parametrize("keyring", [None, Keyring()], ids=["looking", "without keys"])
def test_mutated_records_raise_record_errors_and_nothing_else(keyring: Keyring | None) -> None:
    outcome = encode_part(Outcome(state="dead", reason="500", headers=(("A", "b"),), body=b"x"))
    record = change(encode(make_task(), Keyring([KEY])), outcome=outcome)
    assert record.secrets is not None
    chance = random.Random(20261)
    read = 0
    for turn in range(6000):
        part = ("body", "secrets", "outcome")[turn % 3]
        try:
            task = decode(change(record, **{part: mutated(getattr(record, part), chance)}), keyring)
        except RecordError:
            continue
        assert task.id == record.id
        read += 1
    assert 0 < read < 6000


@settings(max_examples=300)
@given(st.binary(max_size=80), st.none() | st.binary(max_size=40), st.binary(max_size=40))
def test_random_bytes_raise_record_errors_and_nothing_else(body: bytes, secrets: bytes | None, outcome: bytes) -> None:
    record = Record(id=new_id(), body=body, secrets=secrets, outcome=outcome)
    for keyring in (None, Keyring(), Keyring([KEY])):
        with pytest.raises(RecordError):
            decode(record, keyring)


def test_every_truncation_is_a_record_error() -> None:
    record = encode(make_task(), Keyring())
    assert record.secrets is not None
    for length in range(len(record.body)):
        with pytest.raises(RecordError):
            decode(change(record, body=record.body[:length]), Keyring())
    for length in range(len(record.secrets)):
        with pytest.raises(RecordError):
            decode(change(record, secrets=record.secrets[:length]), Keyring())


def test_errors_show_nothing_of_what_was_found() -> None:
    record = encode(make_task(), Keyring())
    for secrets in (record.secrets + b"\0", msgspec.msgpack.encode({"payload": SECRETS[0]}), SECRETS[1].encode()):
        with pytest.raises(RecordError) as caught:
            decode(change(record, secrets=secrets), Keyring())
        assert not any(secret in str(caught.value) for secret in SECRETS)
