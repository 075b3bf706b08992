"""Applies one signed batch: verified, stored once, acknowledged only after the commit.

Whatever arrives ends in one of four ways:
  committed       stored now, or the very same bytes were stored before: a signed ack says so
  rejected        a good signature on something that cannot be taken: recorded, a signed `rejected` with the reason
  refused         nothing that can be trusted or answered yet: recorded, no answer, so the collector keeps it
  DatabaseError   the database is away or locked: nothing happened, try again
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cbor2
from django.conf import settings
from django.db import DataError, transaction

from domain.ids import BatchId, CollectorId, Stream
from portal.fleet.models import Collector, CollectorKey
from portal.fleet.services import portal_signing_key
from portal.ingest.errors import BatchRefused
from portal.ingest.letters import Refusal, record_refusal
from portal.metering import services
from portal.metering.models import Epoch, StoredBatch
from sync import signing
from sync.batch import MAX_PLAIN_BYTES, NO_PREVIOUS, Batch, decode_payload
from sync.compression import decompress
from sync.errors import BadMessage

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

MAX_AHEAD = 65_536
"""How far beyond the newest committed sequence a batch may lie. A collector seals far fewer; the rest is room for a
portal that was restored from a backup and misses batches which were acknowledged since."""

_SILENT = frozenset({"too-far-ahead"})


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
    collector = Collector.objects.filter(collector_id=topic_collector, revoked_at__isnull=True).first()
    if collector is None:
        raise BatchRefused("unknown-collector")
    keys = _Keys(collector)
    # Verified and decoded before the transaction: garbage never holds a lock.
    batch = _open(data, topic_collector, keys)
    with transaction.atomic():
        # Batches of one collector are applied one after the other, and none after its revocation has committed.
        locked = Collector.objects.select_for_update().filter(pk=collector.pk, revoked_at__isnull=True).first()
        if locked is None:
            raise BatchRefused("unknown-collector")
        if reason := keys.refusal(batch.sealed_at):
            raise BatchRefused(reason, batch.id, silent=True)
        try:
            with transaction.atomic():
                _store(batch, data, locked, received_at)
        except (DataError, OverflowError) as error:
            raise BatchRefused("not-storable", batch.id) from error
    return batch.id


class _Keys:
    """Finds the collector's keys by their ids, and remembers which it found."""

    def __init__(self, collector: Collector) -> None:
        self.collector = collector
        self.row: CollectorKey | None = None

    def __call__(self, key_id: bytes) -> signing.VerifyKey | None:
        self.row = CollectorKey.objects.filter(collector=self.collector, kid=key_id.hex()).first()
        if self.row is None or self.row.revoked_at is not None:
            return None
        return signing.VerifyKey(signing.Algorithm[self.row.alg], bytes(self.row.public_key))

    def refusal(self, sealed_at: datetime) -> str:
        """Return why the key that verified may not be used, as of now: revoked since, or retired before the seal."""
        assert self.row is not None
        self.row.refresh_from_db()
        if self.row.revoked_at is not None:
            return "revoked-key"
        return "expired-key" if self.row.valid_to is not None and self.row.valid_to < sealed_at else ""


def _open(data: bytes, collector: CollectorId, keys: _Keys) -> Batch:
    """Return the verified batch; what was signed but is no good batch is refused under its identity if it has one."""
    try:
        payload = signing.open_signed(data, label=signing.BATCH, collector=collector, keys=keys)
    except BadMessage as error:
        revoked = error.reason_code == "unknown-key" and keys.row is not None
        raise BatchRefused("revoked-key" if revoked else error.reason_code) from error
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


def _store(batch: Batch, data: bytes, collector: Collector, received_at: datetime) -> None:
    """Store a verified batch and everything in it, unless these very bytes are stored already."""
    epoch = services.epoch_row(collector, batch, received_at=received_at)
    if epoch is None:
        raise BatchRefused("epoch", batch.id)
    stream = StoredBatch.objects.filter(epoch=epoch, stream=int(batch.id.stream))
    known = stream.filter(sequence=batch.id.sequence).values_list("batch_hash", flat=True).first()
    if known is not None:
        if bytes(known) != hashlib.sha256(data).digest():
            raise BatchRefused("conflict", batch.id)
        return
    for check in _CHECKS:
        if reason := check(batch, data, epoch):
            raise BatchRefused(reason, batch.id, silent=reason in _SILENT)
    services.store_batch(batch, data, epoch=epoch, received_at=received_at)
    services.apply_contents(batch, epoch=epoch, received_at=received_at)
    collector.last_batch_at = received_at
    collector.save(update_fields=["last_batch_at"])


def _ahead(batch: Batch, data: bytes, epoch: Epoch) -> str:
    stream = StoredBatch.objects.filter(epoch=epoch, stream=int(batch.id.stream)).order_by("-sequence")
    newest = stream.values_list("sequence", flat=True).first() or 0
    return "too-far-ahead" if batch.id.sequence > newest + MAX_AHEAD else ""


def _chain(batch: Batch, data: bytes, epoch: Epoch) -> str:
    """Compare the hash chain with the neighbours that are here; a hole says nothing until it is filled."""
    if (batch.id.sequence == 1) != (batch.previous_hash == NO_PREVIOUS):
        return "chain"
    stream = StoredBatch.objects.filter(epoch=epoch, stream=int(batch.id.stream))
    before = stream.filter(sequence=batch.id.sequence - 1).values_list("batch_hash", flat=True).first()
    after = stream.filter(sequence=batch.id.sequence + 1).values_list("previous_hash", flat=True).first()
    broken = (before is not None and bytes(before) != batch.previous_hash) or (
        after is not None and bytes(after) != hashlib.sha256(data).digest()
    )
    return "chain" if broken else ""


def _append_overlap(batch: Batch, data: bytes, epoch: Epoch) -> str:
    """Look for a committed batch of the stream whose append_seq range meets this one's: its reads would count twice."""
    appended = services.append_seqs(batch)
    if not appended:
        return ""
    meeting = StoredBatch.objects.filter(
        epoch=epoch,
        stream=int(batch.id.stream),
        last_append_seq__gte=min(appended),
        first_append_seq__lte=max(appended),
    )
    return "append-overlap" if meeting.exists() else ""


_CHECKS: tuple[Callable[[Batch, bytes, Epoch], str], ...] = (_ahead, _chain, _append_overlap)
