"""Signatures: what was signed opens, and nothing else does."""

from __future__ import annotations

import stat
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.errors import ConfigError
from domain.ids import CollectorId
from sync.errors import BadBatch, BadMessage, BadSignature
from sync.signing import (
    ACK,
    BATCH,
    COMMAND,
    MAX_SIGNED_BYTES,
    Ack,
    Algorithm,
    Command,
    SigningKey,
    VerifyKey,
    batch_hash,
    open_ack,
    open_batch,
    open_command,
    open_signed,
    sign,
    sign_ack,
    sign_batch,
    sign_command,
)
from tests.bench.batches import street_batch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BATCH_OF_6 = street_batch(3, 2)
COLLECTOR = BATCH_OF_6.id.collector
KEYS = {alg: SigningKey.generate(alg) for alg in Algorithm}
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def ring(*keys: SigningKey) -> Callable[[bytes], VerifyKey | None]:
    return {key.key_id: key.verify_key for key in keys}.get


@pytest.mark.parametrize("alg", Algorithm)
def test_a_signed_batch_opens(alg: Algorithm) -> None:
    data = sign_batch(BATCH_OF_6, KEYS[alg])
    assert open_batch(data, collector=COLLECTOR, keys=ring(*KEYS.values())) == BATCH_OF_6
    assert len(batch_hash(data)) == 32


@pytest.mark.parametrize("alg", Algorithm)
def test_every_flipped_bit_is_refused(alg: Algorithm) -> None:
    key = KEYS[alg]
    data = sign_batch(street_batch(1, 1), key)
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises((BadBatch, BadSignature)):
            open_batch(bytes(flipped), collector=COLLECTOR, keys=ring(key))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.booleans())
def test_noise_is_refused(noise: bytes, starts_well: bool) -> None:
    with pytest.raises((BadBatch, BadSignature)):
        open_batch(
            b"\xd2\x84" * starts_well + noise, collector=COLLECTOR, keys=lambda _kid: KEYS[Algorithm.EDDSA].verify_key
        )


def test_es256_has_one_signature_for_a_message() -> None:
    """The other valid s would give the same batch another hash, made by whoever carries it."""
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    key = KEYS[Algorithm.ES256]
    for number in range(20):
        signature = key.sign(bytes([number]))
        twin = signature[:32] + (order - int.from_bytes(signature[32:], "big")).to_bytes(32, "big")
        assert key.verify_key.verify(signature, bytes([number]))
        assert not key.verify_key.verify(twin, bytes([number]))
    assert not key.verify_key.verify(bytes(64), b"\x00")
    assert not key.verify_key.verify(b"\xff" * 64, b"\x00")


def test_the_algorithm_is_the_enrolled_keys() -> None:
    eddsa, es256 = KEYS[Algorithm.EDDSA], KEYS[Algorithm.ES256]
    data = sign_batch(BATCH_OF_6, es256)
    with pytest.raises(BadSignature) as refusal:
        open_batch(data, collector=COLLECTOR, keys=lambda _kid: eddsa.verify_key)
    assert refusal.value.reason_code == "algorithm"
    with pytest.raises(BadSignature) as refusal:
        open_batch(data, collector=COLLECTOR, keys=lambda _kid: None)
    assert refusal.value.reason_code == "unknown-key"
    stranger = SigningKey.generate()
    with pytest.raises(BadSignature) as refusal:
        open_batch(sign_batch(BATCH_OF_6, stranger), collector=COLLECTOR, keys=lambda _kid: eddsa.verify_key)
    assert refusal.value.reason_code == "signature"


def test_one_collectors_batch_is_not_anothers() -> None:
    key, other = KEYS[Algorithm.EDDSA], CollectorId("oak-street-1")
    with pytest.raises(BadSignature):
        open_batch(sign_batch(BATCH_OF_6, key), collector=other, keys=ring(key))
    disguised = sign(
        open_signed(sign_batch(BATCH_OF_6, key), label=BATCH, collector=COLLECTOR, keys=ring(key)),
        label=BATCH,
        collector=other,
        key=key,
    )
    with pytest.raises(BadBatch) as refusal:
        open_batch(disguised, collector=other, keys=ring(key))
    assert refusal.value.reason_code == "collector"


def test_one_kind_of_message_is_not_another() -> None:
    key = KEYS[Algorithm.EDDSA]
    data = sign(b"\xa0", label=ACK, collector=COLLECTOR, key=key)
    assert open_signed(data, label=ACK, collector=COLLECTOR, keys=ring(key)) == b"\xa0"
    for label in (BATCH, COMMAND, "hw1.report"):
        with pytest.raises(BadSignature):
            open_signed(data, label=label, collector=COLLECTOR, keys=ring(key))


def test_a_long_message_is_refused_unread() -> None:
    with pytest.raises(BadBatch) as refusal:
        open_batch(bytes(MAX_SIGNED_BYTES + 1), collector=COLLECTOR, keys=ring())
    assert refusal.value.reason_code == "oversized"


def test_acks() -> None:
    key = KEYS[Algorithm.EDDSA]
    for ack in (
        Ack(BATCH_OF_6.id, bytes(range(32)), True, "", NOW),
        Ack(BATCH_OF_6.id, bytes(range(32)), False, "chain", NOW),
    ):
        assert open_ack(sign_ack(ack, key), collector=COLLECTOR, keys=ring(key)) == ack
    with pytest.raises(BadMessage):
        open_ack(sign_batch(BATCH_OF_6, key), collector=COLLECTOR, keys=ring(key))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=80))
def test_a_signed_ack_or_command_full_of_noise_is_refused(noise: bytes) -> None:
    key = KEYS[Algorithm.EDDSA]
    with pytest.raises(BadMessage):
        open_ack(sign(noise, label=ACK, collector=COLLECTOR, key=key), collector=COLLECTOR, keys=ring(key))
    with pytest.raises(BadMessage):
        open_command(
            sign(noise, label=COMMAND, collector=COLLECTOR, key=key),
            collector=COLLECTOR,
            keys=ring(key),
            now=NOW,
            longest=timedelta(days=7),
        )


def test_commands_expire() -> None:
    key = KEYS[Algorithm.EDDSA]
    command = Command(bytes(16), "read-now", NOW, NOW + timedelta(hours=1), {"meter": "EFE-04990254", "tries": 2})

    def opened(command: Command, now: datetime) -> Command:
        data = sign_command(command, collector=COLLECTOR, key=key)
        return open_command(data, collector=COLLECTOR, keys=ring(key), now=now, longest=timedelta(days=7))

    assert opened(command, NOW) == command
    for wrong, now in (
        (command, NOW + timedelta(hours=1)),
        (replace(command, expires_at=NOW + timedelta(days=8)), NOW),
        (replace(command, expires_at=NOW - timedelta(days=8)), NOW - timedelta(days=9)),
    ):
        with pytest.raises(BadMessage) as refusal:
            opened(wrong, now)
        assert refusal.value.reason_code == "expired"


@pytest.mark.parametrize("alg", Algorithm)
def test_key_files(tmp_path: Path, alg: Algorithm) -> None:
    key, path = KEYS[alg], tmp_path / "signing.pem"
    key.save(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert SigningKey.load(path).key_id == key.key_id
    assert VerifyKey.from_pem(key.verify_key.pem()) == key.verify_key
    with pytest.raises(FileExistsError):
        key.save(path)
    with pytest.raises(ConfigError, match="enrol"):
        SigningKey.load(tmp_path / "absent.pem")
    path.write_text("nonsense")
    with pytest.raises(ConfigError):
        SigningKey.load(path)
