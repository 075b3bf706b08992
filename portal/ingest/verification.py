"""Verifies a stored batch again, from its very bytes: who doubts a bill sees the signature checked, not noted.

Keys that were retired or revoked since are used too: what they signed while they were in force stays signed, and the
answer says what became of the key.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from domain.ids import CollectorId
from portal.fleet.models import CollectorKey
from sync import signing
from sync.batch import MAX_PLAIN_BYTES, Batch, decode_payload
from sync.errors import BadMessage
from sync.signing import Algorithm, VerifyKey

if TYPE_CHECKING:
    from portal.metering.models import StoredBatch


@dataclass(frozen=True, slots=True)
class Verdict:
    """What checking one stored batch gave.

    valid   the signature fits the bytes under a key that was enrolled for this collector, the hash is the one that was
            written down, and the identity inside is the one it is stored under.
    reason  a short stable word when it is not: `signature`, `unknown-key`, `hash`, `identity`, `envelope`, ...
    key_id  hex; empty when the bytes name none. key: the row of the key, None when it is not enrolled.
    batch   the content, when it could be read.
    """

    valid: bool
    reason: str
    key_id: str
    key: CollectorKey | None
    batch: Batch | None


def verify_stored(stored: StoredBatch) -> Verdict:
    """Check the signed bytes of a stored batch; its epoch and collector are read when they were not selected."""
    collector = stored.epoch.collector
    data = bytes(stored.signed)
    rows = {row.kid: row for row in CollectorKey.objects.filter(collector=collector)}
    asked: list[str] = []

    def keys(key_id: bytes) -> VerifyKey | None:
        asked.append(key_id.hex())
        row = rows.get(key_id.hex())
        return None if row is None else VerifyKey(Algorithm[row.alg], bytes(row.public_key))

    batch: Batch | None = None
    try:
        payload = signing.open_signed(
            data, label=signing.BATCH, collector=CollectorId(collector.collector_id), keys=keys
        )
        batch = decode_payload(payload, max_plain_bytes=MAX_PLAIN_BYTES)
        reason = _disagreement(stored, batch)
    except BadMessage as error:
        reason = error.reason_code
    key_id = asked[-1] if asked else ""
    return Verdict(not reason, reason, key_id, rows.get(key_id), batch)


def _disagreement(stored: StoredBatch, batch: Batch) -> str:
    if signing.batch_hash(bytes(stored.signed)) != bytes(stored.batch_hash):
        return "hash"
    written = (stored.epoch.collector.collector_id, bytes(stored.epoch.epoch), stored.stream, stored.sequence)
    inside = (str(batch.id.collector), batch.id.epoch, int(batch.id.stream), batch.id.sequence)
    return "" if written == inside else "identity"
