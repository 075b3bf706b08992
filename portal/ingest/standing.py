"""What the database says about a batch's sender, key, epoch and streams, asked in two statements under its lock."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING, Any

from django.db import connection

from domain.ids import Stream
from portal.core.statements import run_together
from portal.metering.heads import Head

if TYPE_CHECKING:
    from datetime import datetime

    from sync.batch import Batch

_LOCK = "UPDATE fleet_collector SET last_batch_at = %s WHERE collector_id = %s AND revoked_at IS NULL RETURNING id"
_HEAD = "{0}.newest, {0}.newest_hash, {0}.last_append_seq, {0}.declared, {0}.settled_through, {0}.ask_at"
_FACTS = (
    "SELECT k.revoked_at IS NOT NULL, k.valid_to IS NOT NULL AND k.valid_to < %s, "  # noqa: S608
    "e.id, e.collector_id, e.previous IS NULL, "
    "(SELECT t.token FROM metering_registrytoken t WHERE t.collector_id = k.collector_id), "
    "EXISTS (SELECT 1 FROM metering_epoch x WHERE x.collector_id = k.collector_id AND x.epoch <> %s), "
    f"{_HEAD.format('h')}, {_HEAD.format('o')} "
    "FROM fleet_collectorkey k LEFT JOIN metering_epoch e ON e.epoch = %s "
    "LEFT JOIN metering_streamhead h ON h.epoch_id = e.id AND h.stream = %s "
    "LEFT JOIN metering_streamhead o ON o.epoch_id = e.id AND o.stream = %s "
    "WHERE k.collector_id = (SELECT c.id FROM fleet_collector c WHERE c.collector_id = %s) AND k.kid = %s"
)


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a sender stands, as of now.

    refusal         why the key that verified may not be used (revoked since, retired before the seal); empty if it may.
    epoch           Epoch's row id, None at first sight; epoch_owner: whose it is; names_previous: it names another.
    token           of the collector's registry (portal/metering/assignments.py), empty while it has none.
    other_epochs    the collector has others.
    head, beside    of the batch's stream, and of the other one.
    """

    collector: int
    refusal: str
    epoch: int | None
    epoch_owner: int | None
    names_previous: bool
    token: bytes
    other_epochs: bool
    head: Head
    beside: Head


def locked_standing(batch: Batch, key_id: bytes, *, received_at: datetime) -> Standing | None:
    """Lock a batch's collector to the end of the transaction and return where it stands; None when it is revoked.

    Batches of one collector are applied one after the other, and none after its revocation has committed: the facts
    are asked for by a statement of its own, which sees what was committed before the lock was had.
    """
    adapt = connection.ops.adapt_datetimefield_value
    name, epoch, stream = str(batch.id.collector), batch.id.epoch, int(batch.id.stream)
    facts = [adapt(batch.sealed_at), epoch, epoch, stream, 1 - stream, name, key_id.hex()]
    locked, found = run_together([(_LOCK, [adapt(received_at), name]), (_FACTS, facts)])
    if not locked:
        return None
    collector = locked[0][0]
    if not found:
        return Standing(collector, "unknown-key", None, None, False, b"", False, Head(), Head())
    revoked, retired, epoch_row, owner, nameless, token, other_epochs = found[0][:7]
    return Standing(
        collector,
        "revoked-key" if revoked else "expired-key" if retired else "",
        epoch_row,
        owner,
        owner is not None and not nameless,
        bytes(token or b""),
        bool(other_epochs),
        _head(found[0][7:13]),
        _head(found[0][13:19]),
    )


def _head(row: tuple[Any, ...]) -> Head:
    if row[0] is None:
        return Head()
    newest, digest, last_append_seq, declared, settled_through, ask_at = row
    if ask_at is not None and ask_at.tzinfo is None:  # SQLite has no zones
        ask_at = ask_at.replace(tzinfo=UTC)
    return Head(newest, bytes(digest), last_append_seq, declared, settled_through, ask_at)


def other(stream: Stream) -> Stream:
    """Return the other one of the two streams."""
    return Stream(1 - stream)
