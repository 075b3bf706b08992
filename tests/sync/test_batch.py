"""The batch format: decoding undoes encoding, and whatever else arrives is refused with a reason of ours."""

from __future__ import annotations

import lzma
import zlib
from dataclasses import replace
from typing import Any

import cbor2
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from domain.reading import ReadFlag
from sync.batch import Batch, decode_payload, encode_payload
from sync.compression import DEFLATE, LZMA2, STORED, decompress
from sync.errors import REASONS, BadBatch
from tests.bench.batches import SHAPES, bytes_per_read, street_batch
from tests.sync.strategies import batches

SMALL = street_batch(3, 4)


def plain_of(payload: bytes) -> dict[int, Any]:
    _, tag, data = cbor2.loads(payload)
    return cbor2.loads(decompress(tag, data, max_plain_bytes=10**7))


def wrapped(plain: Any) -> bytes:
    return cbor2.dumps([1, STORED, cbor2.dumps(plain, canonical=True)], canonical=True)


def read_or_refused(payload: bytes) -> Batch | None:
    """Return the batch, or None when it was refused with a known reason; any other error fails the test."""
    try:
        return decode_payload(payload)
    except BadBatch as refusal:
        reason = refusal.reason_code
    assert reason in REASONS
    return None


@settings(max_examples=60, deadline=None)
@given(batches())
def test_decoding_undoes_encoding(batch: Batch) -> None:
    payload = encode_payload(batch)
    assert decode_payload(payload) == batch
    assert encode_payload(decode_payload(payload)) == payload


@pytest.mark.parametrize("shape", SHAPES)
def test_a_street_comes_back(shape: tuple[int, int]) -> None:
    for step_us in (1, 1000):
        batch = street_batch(*shape, step_us=step_us)
        again = decode_payload(encode_payload(batch))
        assert again == batch
        assert again.reads[-1].read.clock.monotonic_ns == batch.reads[-1].read.clock.monotonic_ns


def test_bytes_per_read_stay_where_they_are() -> None:
    """The promises of docs/reference/wire-format.md, signature included."""
    ceilings = {(1000, 24): 1.6, (250, 1): 9.0, (20, 1): 24.0, (20, 15): 3.5}
    assert {shape: bytes_per_read(*shape) <= ceiling for shape, ceiling in ceilings.items()} == dict.fromkeys(
        ceilings, True
    )


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
@example(b"\x83\x01\x00\x41\xa0")
def test_noise_is_refused(noise: bytes) -> None:
    with pytest.raises(BadBatch) as refusal:
        decode_payload(noise)
    assert refusal.value.reason_code in REASONS


json_like = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.binary(max_size=40), st.text(max_size=9)
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=6), st.dictionaries(st.integers(0, 15), inner, max_size=6)),
    max_leaves=12,
)


@settings(max_examples=250, deadline=None)
@given(st.data())
def test_a_field_replaced_by_anything_is_read_or_refused(data: st.DataObject) -> None:
    """Never another error than BadBatch: one part of a good batch becomes any other CBOR value."""
    plain = plain_of(encode_payload(SMALL))
    target: Any = plain
    while True:
        keys = list(target) if isinstance(target, dict) else list(range(len(target)))
        key = data.draw(st.sampled_from(keys))
        inner = target[key]
        if not isinstance(inner, dict | list) or not inner or data.draw(st.booleans()):
            break
        target = inner
    target[key] = data.draw(json_like)
    batch = read_or_refused(wrapped(plain))
    assert batch is None or decode_payload(encode_payload(batch)) == batch


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 255))
def test_a_damaged_payload_is_read_or_refused(at: int, flip: int) -> None:
    payload = bytearray(encode_payload(SMALL))
    payload[at % len(payload)] ^= flip
    read_or_refused(bytes(payload))


def test_cut_or_followed_by_other_bytes() -> None:
    payload = encode_payload(SMALL)
    for cut in range(len(payload)):
        with pytest.raises(BadBatch):
            decode_payload(payload[:cut])
    with pytest.raises(BadBatch):
        decode_payload(payload + b"\x00")


@pytest.mark.parametrize("tag", [DEFLATE, LZMA2])
def test_a_bomb_is_refused_without_being_unpacked(tag: int) -> None:
    bomb = b"\x00" * 50_000_000
    if tag == DEFLATE:
        machine = zlib.compressobj(9, zlib.DEFLATED, -15)
        data = machine.compress(bomb) + machine.flush()
    else:
        data = lzma.compress(bomb, lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA2, "preset": 0}])
    with pytest.raises(BadBatch) as refusal:
        decode_payload(cbor2.dumps([1, tag, data]), max_plain_bytes=100_000)
    assert refusal.value.reason_code == "oversized"


@pytest.mark.parametrize("beside", [0, -1, 2**63, "3", True])
def test_beside_is_a_sequence_or_left_out(beside: object) -> None:
    with pytest.raises(BadBatch):
        decode_payload(wrapped(plain_of(encode_payload(SMALL)) | {11: beside}))


def test_a_few_bytes_cannot_claim_many_reads() -> None:
    plain = plain_of(encode_payload(SMALL))
    plain[9] |= {14: 10**9, 0: 1, 4: 0, 6: 0}
    with pytest.raises(BadBatch) as refusal:
        decode_payload(wrapped(plain))
    assert refusal.value.reason_code == "oversized"
    plain[9] |= {14: 12, 6: {0: [0], 1: [2**40]}}
    with pytest.raises(BadBatch):
        decode_payload(wrapped(plain))


def test_only_one_form_is_accepted() -> None:
    plain = cbor2.dumps(plain_of(encode_payload(SMALL)), canonical=True)
    assert plain[0] == 0xA9
    indefinite = b"\xbf" + plain[1:] + b"\xff"
    for other in (indefinite, plain + b"\x00", b"\xd9\xd9\xf7" + plain, b"\xb8" + bytes([9]) + plain[1:]):
        with pytest.raises(BadBatch):
            decode_payload(cbor2.dumps([1, STORED, other], canonical=True))
    shared = b"\xd8\x1c\x81\xd8\x1d\x00"  # a list that contains itself
    with pytest.raises(BadBatch):
        decode_payload(cbor2.dumps([1, STORED, shared], canonical=True))


def test_an_unknown_version_says_so() -> None:
    with pytest.raises(BadBatch) as refusal:
        decode_payload(cbor2.dumps([2, 0, b""]))
    assert refusal.value.reason_code == "version"


def test_append_seq_rises_and_is_one_items_alone() -> None:
    reads = SMALL.reads
    for wrong in ((reads[1], reads[0]), (reads[0], reads[0])):
        with pytest.raises(BadBatch) as refusal:
            encode_payload(replace(SMALL, reads=wrong))
        assert refusal.value.reason_code == "order"


def test_flags_and_clock_contexts_survive() -> None:
    first, second, *rest = SMALL.reads
    other_clock = replace(second.read.clock, boot_id=b"\x09" * 16, monotonic_ns=123_456_789)
    changed = replace(
        second, read=replace(second.read, flags=ReadFlag.RETRIED | ReadFlag.LOW_BATTERY, clock=other_clock)
    )
    batch = replace(SMALL, reads=(first, changed, *rest))
    assert decode_payload(encode_payload(batch)) == batch
