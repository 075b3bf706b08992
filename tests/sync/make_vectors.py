"""Make the test vectors of docs/reference/vectors: fixed keys, so that a stranger can check every byte.

    python -m tests.sync.make_vectors

`batch-eddsa-without-beside` is not made here: it is kept as a collector wrote it that did not know `beside` yet.
Written once for each version of the format. Compression and ES256 signatures differ from run to run and machine to
machine, so the kept files are checked for what they say, not made again and compared.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cbor2
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from domain.clock import ClockState
from domain.ids import BatchId, CollectorId, MeterId, PreviousEpoch, RegisterId, Stream
from domain.reading import (
    Event,
    EventKind,
    ReadFlag,
    ReadQuality,
    Reason,
    Register,
    RegisterRead,
    StoredEvent,
    StoredRead,
)
from domain.units import Unit
from sync.batch import NO_PREVIOUS, Batch, encode_payload
from sync.compression import decompress
from sync.signing import (
    ACK,
    BATCH,
    COMMAND,
    Ack,
    Algorithm,
    Command,
    SigningKey,
    external_aad,
    sign,
    sign_ack,
    sign_command,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "reference" / "vectors"
COLLECTOR = CollectorId("elm-street-3")
EPOCH, BOOT = bytes(range(16)), bytes(range(16, 32))
START = datetime(2026, 11, 22, 12, 0, 0, 250_000, tzinfo=UTC)
SECRETS = {Algorithm.EDDSA: bytes(range(32)), Algorithm.ES256: bytes(range(1, 33))}


def signing_key(alg: Algorithm) -> SigningKey:
    """Return the vectors' key of an algorithm: everybody knows its secret half."""
    if alg is Algorithm.EDDSA:
        return SigningKey(ed25519.Ed25519PrivateKey.from_private_bytes(SECRETS[alg]))
    return SigningKey(ec.derive_private_key(int.from_bytes(SECRETS[alg], "big"), ec.SECP256R1()))


def _read(seq: int, meter: int, count: int, **marks: Any) -> StoredRead:
    register = Register(MeterId(f"EFE-0499{meter:04d}"), RegisterId("total"), Unit.CUBIC_METRE, -3, 10**8)
    at = START + timedelta(milliseconds=70 * seq)
    clock = ClockState(BOOT, 5_000_000_000_000 + 70_000_000 * seq, True, START - timedelta(days=2))
    return StoredRead(seq, RegisterRead(register, count, at, clock, **marks))


def example_batch() -> Batch:
    """Return a batch with a little of everything."""
    reads = [_read(seq, 250 + (seq - 1) % 3, 120_000 + 7 * seq * seq) for seq in range(1, 7)]
    reads.append(
        _read(8, 251, 120_900, quality=ReadQuality.SUSPECT, reason=Reason.UNEXPECTED_METER, flags=ReadFlag.RETRIED)
    )
    happened = Event(
        "returned:EFE-04990251:1",
        EventKind.METER_RETURNED,
        START + timedelta(seconds=1),
        ClockState(BOOT, 5_001_000_000_007, False, None),
        MeterId("EFE-04990251"),
        {"silent_s": 340, "line": "riser", "tries": [1, 2, 3]},
    )
    before = PreviousEpoch(bytes(reversed(EPOCH)), (17, 2))
    batch_id = BatchId(COLLECTOR, EPOCH, Stream.BULK, 1)
    sealed_at = START + timedelta(seconds=2)
    return Batch(batch_id, NO_PREVIOUS, sealed_at, tuple(reads), (StoredEvent(7, happened),), before, beside=3)


def as_json(batch: Batch) -> dict[str, Any]:
    """Return a batch as plain JSON values, for a reader who has another program."""
    previous = batch.previous_epoch
    return {
        "collector": batch.id.collector,
        "epoch": batch.id.epoch.hex(),
        "stream": int(batch.id.stream),
        "sequence": batch.id.sequence,
        "previous_hash": batch.previous_hash.hex(),
        "sealed_at": batch.sealed_at.isoformat(),
        "previous_epoch": previous and [previous.epoch.hex(), *previous.last_sequences],
        "beside": batch.beside,
        "reads": [
            {
                "append_seq": stored.append_seq,
                "meter": stored.read.register.meter_id,
                "register": stored.read.register.register_id,
                "unit": stored.read.register.unit.value,
                "scale": stored.read.register.scale,
                "modulus": stored.read.register.modulus,
                "count": stored.read.raw_count,
                "read_at": stored.read.read_at.isoformat(),
                "clock": _clock(stored.read.clock),
                "quality": int(stored.read.quality),
                "reason": int(stored.read.reason),
                "flags": int(stored.read.flags),
            }
            for stored in batch.reads
        ],
        "events": [
            {
                "append_seq": stored.append_seq,
                "event_id": stored.event.event_id,
                "kind": stored.event.kind.value,
                "at": stored.event.at.isoformat(),
                "clock": _clock(stored.event.clock),
                "meter": stored.event.meter_id,
                "detail": dict(stored.event.detail),
            }
            for stored in batch.events
        ],
    }


def _clock(clock: ClockState) -> dict[str, Any]:
    since = clock.synced_since
    return {
        "boot_id": clock.boot_id.hex(),
        "monotonic_ns": clock.monotonic_ns,
        "synchronised": clock.synchronised,
        "synced_since": since and since.isoformat(),
    }


def _vector(label: str, key: SigningKey, signed: bytes, contents: Mapping[str, Any]) -> dict[str, Any]:
    protected, _, payload, signature = cbor2.loads(signed).value
    aad = external_aad(label, COLLECTOR)
    vector = {
        "label": label,
        "collector": COLLECTOR,
        "alg": int(key.alg),
        "kid": key.key_id.hex(),
        "private_key": SECRETS[key.alg].hex(),
        "public_key": key.verify_key.public.hex(),
        "external_aad": aad.hex(),
        "to_be_signed": cbor2.dumps(["Signature1", protected, aad, payload], canonical=True).hex(),
        "signature": signature.hex(),
        "payload": payload.hex(),
        "signed": signed.hex(),
        "contents": contents,
    }
    if label == BATCH:
        _, tag, data = cbor2.loads(payload)
        vector["plain"] = decompress(tag, data, max_plain_bytes=10**6).hex()
    return vector


def main() -> None:
    """Write the vectors."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    eddsa = signing_key(Algorithm.EDDSA)
    batch = example_batch()
    made: dict[str, dict[str, Any]] = {}
    for key in (eddsa, signing_key(Algorithm.ES256)):
        signed = sign(encode_payload(batch), label=BATCH, collector=COLLECTOR, key=key)
        made[f"batch-{key.alg.name.lower()}"] = _vector(BATCH, key, signed, as_json(batch))
    for name, reason in (("committed", ""), ("rejected", "chain")):
        ack = Ack(batch.id, bytes(range(32)), not reason, reason, START + timedelta(seconds=5))
        contents = {
            "epoch": EPOCH.hex(),
            "stream": 0,
            "sequence": 1,
            "batch_hash": ack.batch_hash.hex(),
            "committed": ack.committed,
            "reason_code": reason,
            "acked_at": ack.acked_at.isoformat(),
        }
        made[f"ack-{name}"] = _vector(ACK, eddsa, sign_ack(ack, eddsa), contents)
    command = Command(bytes(range(16)), "read-now", START, START + timedelta(hours=1), {"meter": "EFE-04990251"})
    contents = {
        "nonce": command.nonce.hex(),
        "kind": command.kind,
        "issued_at": command.issued_at.isoformat(),
        "expires_at": command.expires_at.isoformat(),
        "body": dict(command.body),
    }
    made["command"] = _vector(COMMAND, eddsa, sign_command(command, collector=COLLECTOR, key=eddsa), contents)
    for name, vector in made.items():
        (FOLDER / f"{name}.json").write_text(json.dumps(vector, indent=1) + "\n")


if __name__ == "__main__":
    main()
