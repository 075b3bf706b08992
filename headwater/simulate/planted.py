"""Bugs put into production code from outside, here and nowhere else, so that anyone can see the simulation find them.

delete-on-puback    a batch counts as delivered once the broker took it
ack-before-commit   the portal answers inside the transaction, which is committed with the next batch
unsealed-resend     a batch's bytes are made anew for each publication, from what is unsent by then
hash-not-checked    an ack settles the batch with its number, whatever bytes it acknowledges
sequence-reused     a store that was put back goes on with the numbers that it finds
epoch-ignored       the portal takes every epoch of a collector for its first
cursor-over-time    what is sent next is found by the time of the reads instead of the order of their storage
"""

from __future__ import annotations

import contextlib
import hashlib
from typing import TYPE_CHECKING, Any

from headwater.simulate.machine import replaced

if TYPE_CHECKING:
    from collections.abc import Iterator

Sites = list[tuple[str, str, Any]]


@contextlib.contextmanager
def planted(name: str) -> Iterator[None]:
    """Run the body with one bug in production code; the empty name plants none."""
    with replaced(PLANTS[name]() if name else []):
        yield


def _delete_on_puback() -> Sites:
    from sync.sender import Sender

    sent = Sender.sent

    def sent_and_settled(self: Any, outgoing: Any, now_s: float) -> None:
        sent(self, outgoing, now_s)
        self._store.acked(outgoing.batch_id, hashlib.sha256(outgoing.payload).digest())

    return [("sync.sender.Sender", "sent", sent_and_settled)]


def _ack_before_commit() -> Sites:
    from django.db import connection, transaction

    from portal.ingest.apply import apply_batch

    waiting: list[tuple[Any, Any]] = []

    def apply_and_commit_later(*arguments: Any) -> Any:
        for process, outer in waiting:
            if connection.connection is process:  # else it died with what it had not committed
                outer.__exit__(None, None, None)
        waiting.clear()
        outer = transaction.atomic()
        outer.__enter__()
        waiting.append((connection.connection, outer))
        return apply_batch(*arguments)

    return [("portal.ingest.apply", "apply_batch", apply_and_commit_later)]


def _unsealed_resend() -> Sites:
    from buffer.store import Store

    unacked = Store.unacked

    def unacked_unsealed(self: Any, stream: Any, *, after: int = 0, limit: int = 32) -> Any:
        with self._database.write() as db:
            _unseal_waiting(db, int(stream))
        return unacked(self, stream, after=after, limit=limit)

    return [("buffer.store.Store", "unacked", unacked_unsealed)]


def _unseal_waiting(db: Any, stream: int) -> None:
    """Forget the bytes of what waits behind the last acknowledged batch; the next seal makes others."""
    newest = "stream = ? AND epoch = (SELECT MAX(ref) FROM epoch)"
    acked = f"SELECT MAX(sequence) FROM batch WHERE {newest} AND state <> 0"  # noqa: S608
    last = db.execute(acked, (stream,)).fetchone()[0] or 0
    which = f"{newest} AND sequence > ?"
    first = db.execute(f"SELECT MIN(first_seq) FROM batch WHERE {which}", (stream, last)).fetchone()[0]  # noqa: S608
    if first is None:
        return
    before = db.execute(f"SELECT hash FROM batch WHERE {newest} AND sequence = ?", (stream, last)).fetchone()  # noqa: S608
    refs = db.execute(f"SELECT ref FROM batch WHERE {which}", (stream, last)).fetchall()  # noqa: S608
    db.executemany("DELETE FROM batch_bytes WHERE ref = ?", refs)
    db.executemany("DELETE FROM batch WHERE ref = ?", refs)
    place = (last, before[0] if before else bytes(32), first - 1, stream)
    db.execute("UPDATE stream SET last_sequence = ?, last_hash = ?, sealed_through = ? WHERE stream = ?", place)


def _hash_not_checked() -> Sites:
    def find_batch(db: Any, batch_id: Any, batch_hash: bytes) -> tuple[int, int] | None:
        query = """SELECT batch.ref, state FROM batch JOIN epoch ON epoch.ref = batch.epoch
            WHERE epoch.epoch = ? AND stream = ? AND sequence = ? AND collector = ?"""
        row = db.execute(query, (batch_id.epoch, int(batch_id.stream), batch_id.sequence, str(batch_id.collector)))
        return row.fetchone()  # type: ignore[no-any-return]

    return [("buffer.streams", "find_batch", find_batch)]


def _sequence_reused() -> Sites:
    def is_behind(*arguments: Any) -> bool:
        return False

    return [("buffer.opening", "_is_behind", is_behind)]


def _epoch_ignored() -> Sites:
    from portal.metering.models import Epoch
    from portal.metering.services import epoch_row

    def first_epoch(collector: Any, batch: Any, **context: Any) -> Any:
        return Epoch.objects.filter(collector=collector).order_by("pk").first() or epoch_row(
            collector, batch, **context
        )

    return [("portal.metering.services", "epoch_row", first_epoch)]


def _cursor_over_time() -> Sites:
    from buffer.streams import next_items

    def items_by_time(db: Any, registry: Any, stream: Any, after: int, *bounds: Any) -> Any:
        query = "SELECT COALESCE(MAX(read_at_us), -1 << 62) FROM read WHERE append_seq <= ?"
        newest_us = db.execute(query, (after,)).fetchone()[0]
        reads, events = next_items(db, registry, stream, after, *bounds)
        from buffer.rows import to_us

        return tuple(stored for stored in reads if to_us(stored.read.read_at) > newest_us), events

    return [("buffer.streams", "next_items", items_by_time)]


PLANTS = {
    "delete-on-puback": _delete_on_puback,
    "ack-before-commit": _ack_before_commit,
    "unsealed-resend": _unsealed_resend,
    "hash-not-checked": _hash_not_checked,
    "sequence-reused": _sequence_reused,
    "epoch-ignored": _epoch_ignored,
    "cursor-over-time": _cursor_over_time,
}
"""What returns the places of each bug."""
