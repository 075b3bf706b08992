"""Applies one signed batch: verified, stored once, acknowledged only after the commit.

Whatever arrives ends in one of four ways:
  committed       stored now, or the very same bytes were stored before: a signed ack says so
  rejected        a good signature on something that cannot be taken: recorded, a signed `rejected` with the reason
  refused         nothing that can be trusted or answered yet: recorded, no answer, so the collector keeps it
  DatabaseError   the database is away or locked: nothing happened, try again
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cbor2
from django.conf import settings
from django.db import DataError, transaction

from domain.ids import BatchId, CollectorId, Stream
from portal.fleet.services import portal_signing_key
from portal.ingest.errors import BatchRefused
from portal.ingest.letters import Refusal, record_refusal
from portal.ingest.senders import SenderKeys
from portal.ingest.standing import locked_standing
from portal.ingest.storing import store
from sync import signing
from sync.batch import MAX_PLAIN_BYTES, Batch, decode_payload
from sync.compression import decompress
from sync.errors import BadMessage

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class Answer:
    """What to send back after the commit.

    signed  the signed ack.
    """

    signed: bytes
    committed: bool


def apply_batch(
    data: bytes,
    topic_collector: CollectorId,
    received_at: datetime,
    *,
    record: Callable[[Refusal], bool] = record_refusal,
) -> Answer | None:
    """Apply the signed batch that came on a collector's topic; return its signed ack, or None when nobody is answered.

    The ack is made after the commit. raises DatabaseError when the database could not do it: try again later.
    record  writes a refusal down. What it does not write down is not answered: the collector keeps it and sends it
            again, and nothing is set aside there that nobody can find here.
    """
    try:
        batch_id = _apply(data, topic_collector, received_at)
    except BatchRefused as refusal:
        recorded = record(Refusal(data, refusal.reason_code, topic_collector, received_at, refusal.batch_id))
        if refusal.batch_id is None or refusal.silent or not recorded:
            return None
        return _ack(refusal.batch_id, data, received_at, reason_code=refusal.reason_code)
    return _ack(batch_id, data, received_at)


def _ack(batch_id: BatchId, data: bytes, at: datetime, *, reason_code: str = "") -> Answer:
    ack = signing.Ack(batch_id, signing.batch_hash(data), not reason_code, reason_code, at)
    return Answer(signing.sign_ack(ack, portal_signing_key(str(settings.PORTAL_DIR))), ack.committed)


def _apply(data: bytes, topic_collector: CollectorId, received_at: datetime) -> BatchId:
    keys = SenderKeys(topic_collector)
    # Verified and decoded before the transaction: garbage never holds a lock.
    batch = _open(data, topic_collector, keys)
    try:
        with transaction.atomic():
            standing = locked_standing(batch, keys.key_id, received_at=received_at)
            if standing is None:
                raise BatchRefused("unknown-collector")
            if standing.refusal:
                raise BatchRefused(standing.refusal, batch.id, silent=True)
            if not store(batch, data, standing, received_at=received_at):
                transaction.set_rollback(True)  # it was stored before: nothing is written
    except (DataError, OverflowError) as error:
        raise BatchRefused("not-storable", batch.id) from error
    return batch.id


def _open(data: bytes, collector: CollectorId, keys: SenderKeys) -> Batch:
    """Return the verified batch; what was signed but is no good batch is refused under its identity if it has one."""
    try:
        payload = signing.open_signed(data, label=signing.BATCH, collector=collector, keys=keys)
    except BadMessage as error:
        raise BatchRefused(keys.refusal if error.reason_code == "unknown-key" else error.reason_code) from error
    try:
        batch = decode_payload(payload, max_plain_bytes=MAX_PLAIN_BYTES)
    except BadMessage as error:
        raise BatchRefused(error.reason_code, _identity(payload, collector)) from error
    if batch.id.collector != collector:
        raise BatchRefused("collector")
    return batch


def _identity(payload: bytes, collector: CollectorId) -> BatchId | None:
    """Return the identity in a signed payload that is otherwise wrong, so that its sender can be told; None if none."""
    try:
        _, tag, squeezed = cbor2.loads(payload, max_depth=2)
        plain = cbor2.loads(decompress(tag, squeezed, max_plain_bytes=MAX_PLAIN_BYTES), max_depth=16)
        name, epoch, stream, sequence = (plain[key] for key in range(4))
        return BatchId(collector, epoch, Stream(stream), sequence) if name == collector else None
    except (BadMessage, cbor2.CBORError, ValueError, TypeError, KeyError, ArithmeticError):
        return None
