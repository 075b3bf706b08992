"""Finds the batches that the portal misses and says which of them to ask for now.

A hole is known from three things: a later batch of the stream came, a batch of the other stream said how far this one
was sealed, or the epoch after it did. Not asked for is what the collector reported gone, and what it sent but lies
among the dead letters. A question is repeated after 30 s, then after twice as long, up to an hour; whatever comes of
the stream starts that anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from django.db import connection, transaction

from domain.ids import CollectorId, Stream
from portal.metering import heads
from portal.metering.models import StreamHead

if TYPE_CHECKING:
    from datetime import datetime

MAX_AHEAD = 65_536
"""How far beyond the newest committed sequence a batch may lie. A collector seals far fewer; the rest is room for a
portal that was restored from a backup and misses batches which were acknowledged since."""

ASK_AGAIN_FIRST, ASK_AGAIN_LONGEST = timedelta(seconds=30), timedelta(hours=1)
RANGES_AT_ONCE, BATCHES_AT_ONCE = 8, 512
"""What one question for a stream may name: a collector answers in its own time, and is asked for the rest then."""

_HEADS_AT_ONCE = 64
_TIMES_MAX = 20


@dataclass(frozen=True, slots=True)
class Ask:
    """Batches `first` to `last` of a collector's stream that are wanted again."""

    collector_id: CollectorId
    epoch: bytes
    stream: Stream
    first: int
    last: int


def due_asks(now: datetime) -> list[Ask]:
    """Return what is to be asked for now, and mark it as asked. Several processes may call it: each gets its own."""
    # Nearly always nothing is missing, and then no lock is taken.
    return _due_asks(now) if StreamHead.objects.filter(ask_at__lte=now).exists() else []


@transaction.atomic
def _due_asks(now: datetime) -> list[Ask]:
    rows = StreamHead.objects.select_for_update(
        of=("self",) if connection.features.has_select_for_update_of else (),
        skip_locked=connection.features.has_select_for_update_skip_locked,
    )
    due = rows.filter(ask_at__lte=now, epoch__collector__revoked_at__isnull=True).select_related("epoch__collector")
    return [ask for head in due.order_by("ask_at")[:_HEADS_AT_ONCE] for ask in _asks(head, now)]


def _asks(head: StreamHead, now: datetime) -> list[Ask]:
    """Return what one stream misses, within the bounds of a question, and set when it is looked at again."""
    top = min(max(head.newest, head.declared), head.newest + MAX_AHEAD)
    absent = list(heads.missing(head.epoch_id, head.stream, after=head.settled_through, through=top))
    absent = heads.without(absent, heads.gone(head.epoch_id, head.stream))
    wanted = heads.without(absent, heads.refused(head.epoch, head.stream))[:RANGES_AT_ONCE]
    head.settled_through = absent[0][0] - 1 if absent else top
    pause = min(ASK_AGAIN_FIRST * 2**head.asked_times, ASK_AGAIN_LONGEST) if wanted else ASK_AGAIN_LONGEST
    head.ask_at = now + pause if absent or top < head.declared else None
    head.asked_times = min(head.asked_times + 1, _TIMES_MAX)
    head.save(update_fields=["settled_through", "ask_at", "asked_times"])
    collector, epoch = CollectorId(head.epoch.collector.collector_id), bytes(head.epoch.epoch)
    asks, room = [], BATCHES_AT_ONCE
    for first, last in wanted:
        if room <= 0:
            break
        last = min(last, first + room - 1)
        room -= last - first + 1
        asks.append(Ask(collector, epoch, Stream(head.stream), first, last))
    return asks
