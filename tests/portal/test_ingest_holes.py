"""Holes: the portal knows what it misses of both streams, asks for it with patience, and never for what cannot come."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from domain.ids import PreviousEpoch, Stream
from domain.reading import EventKind
from portal.ingest.apply import apply_batch
from portal.ingest.holes import BATCHES_AT_ONCE, Ask, due_asks
from portal.ingest.rebuild import rebuild
from portal.metering.models import Epoch, GoneBatches, StreamHead
from portal.metering.reconcile import holes
from tests.portal.building import NOON, Box, collector_row, enrolled, event, read, total

if TYPE_CHECKING:
    from collections.abc import Iterable

pytestmark = pytest.mark.django_db
SOON = NOON + timedelta(seconds=10)


@pytest.fixture
def box() -> Box:
    return enrolled()


def bulk(box: Box, count: int, *, beside: int = 0) -> list[bytes]:
    """The next batches of the bulk stream, a read each; all say how far the other stream was sealed."""
    made = []
    for _ in range(count):
        number = box.last_append
        batch = box.batch([read(total(), 1000 + number, NOON + timedelta(minutes=number))])
        made.append(box.sign(dataclasses.replace(batch, beside=beside)))
    return made


def urgent(box: Box, count: int, *, beside: int = 0) -> list[bytes]:
    made = []
    for _ in range(count):
        happened = event(EventKind.METER_SILENT, NOON, event_id=f"e{box.last_append}", meter="EFE-00000001")
        batch = box.batch(events=[happened], stream=Stream.URGENT)
        made.append(box.sign(dataclasses.replace(batch, beside=beside)))
    return made


def take(box: Box, batches: Iterable[bytes]) -> None:
    for signed in batches:
        answer = apply_batch(signed, box.name, NOON)
        assert answer is not None
        assert answer.committed


def asked(asks: list[Ask]) -> list[tuple[Stream, int, int]]:
    return sorted((ask.stream, ask.first, ask.last) for ask in asks)


def test_a_stream_without_holes_asks_nothing(box: Box) -> None:
    take(box, bulk(box, 3))
    take(box, urgent(box, 2, beside=3))
    take(box, bulk(box, 1, beside=2))
    assert due_asks(NOON + timedelta(days=1)) == []


def test_a_hole_is_found_asked_for_and_filled(box: Box) -> None:
    batches = bulk(box, 7)
    take(box, (batches[n] for n in (1, 4, 5)))
    assert due_asks(NOON) == [], "batches overtake each other: a hole is left a few seconds"
    asks = due_asks(SOON)
    assert asked(asks) == [(Stream.BULK, 1, 1), (Stream.BULK, 3, 4)]
    assert {(ask.collector_id, ask.epoch) for ask in asks} == {(box.name, box.epoch)}
    take(box, (batches[n] for n in (3, 0, 2)))
    assert holes(Epoch.objects.get(), Stream.BULK) == []
    assert due_asks(NOON + timedelta(days=1)) == []
    assert StreamHead.objects.get(stream=Stream.BULK).ask_at is None
    take(box, batches[6:])
    assert StreamHead.objects.get(stream=Stream.BULK).settled_through == 7


def test_a_question_is_repeated_with_growing_patience_until_something_comes(box: Box) -> None:
    batches = bulk(box, 4)
    take(box, batches[3:])
    moment, pauses = SOON, []
    assert due_asks(moment)
    for _ in range(9):
        before = moment
        while not due_asks(moment := moment + timedelta(seconds=15)):
            pass
        pauses.append((moment - before).total_seconds())
    assert pauses == [30, 60, 120, 240, 480, 960, 1920, 3600, 3600]
    take(box, batches[:1])
    # What came starts the patience anew, but brings nothing forward.
    assert due_asks(moment + timedelta(seconds=3599)) == []
    assert asked(due_asks(moment + timedelta(seconds=3600))) == [(Stream.BULK, 2, 3)]
    assert due_asks(moment + timedelta(seconds=3630))


def test_a_portal_restored_from_an_older_copy_asks_for_the_tails_of_both_streams(box: Box) -> None:
    take(box, bulk(box, 2))
    take(box, urgent(box, 1, beside=2))
    lost_bulk, lost_urgent = bulk(box, 3, beside=1), urgent(box, 2, beside=5)  # acknowledged, and then forgotten
    take(box, bulk(box, 1, beside=3))
    epoch = Epoch.objects.get()
    assert holes(epoch, Stream.BULK) == [(3, 5)]
    assert holes(epoch, Stream.URGENT) == [(2, 3)]
    assert asked(due_asks(SOON)) == [(Stream.BULK, 3, 5), (Stream.URGENT, 2, 3)]
    take(box, [*lost_urgent, *lost_bulk])
    assert holes(epoch, Stream.URGENT) == holes(epoch, Stream.BULK) == []
    assert due_asks(NOON + timedelta(days=1)) == []


def test_the_stream_that_nothing_has_come_of_is_asked_for_too(box: Box) -> None:
    take(box, urgent(box, 1, beside=4))
    assert asked(due_asks(SOON)) == [(Stream.BULK, 1, 4)]


def successor(box: Box, *lasts: int) -> tuple[Box, bytes]:
    """The collector's next life, and its first batch, which names the epoch before."""
    again = Box(box.name, box.key, epoch=bytes(range(50, 66)))
    batch = again.batch([read(total(), 9000, NOON + timedelta(days=1))])
    bulk_last, urgent_last = lasts
    named = dataclasses.replace(batch, previous_epoch=PreviousEpoch(box.epoch, (bulk_last, urgent_last)))
    return again, again.sign(named)


@pytest.mark.parametrize("known", [False, True])
def test_the_tail_of_the_epoch_before_is_asked_for(box: Box, known: bool) -> None:
    """Even of an epoch of which this portal has never heard, as after it was restored from before that epoch."""
    batches = bulk(box, 3)
    take(box, batches[:1] if known else [])
    again, first = successor(box, 3, 1)
    take(again, [first])
    asks = due_asks(SOON)
    assert asked(asks) == [(Stream.BULK, 2 if known else 1, 3), (Stream.URGENT, 1, 1)]
    assert {ask.epoch for ask in asks} == {box.epoch}
    take(box, [*batches, *urgent(box, 1)])
    assert due_asks(NOON + timedelta(days=1)) == []


def test_nobody_declares_the_epoch_of_another_collector(box: Box) -> None:
    take(box, bulk(box, 1))
    other = enrolled("hw-test-2")
    stranger = Box(other.name, other.key, box.epoch)
    take(other, [successor(stranger, 500, 500)[1]])
    assert due_asks(NOON + timedelta(days=1)) == []


def test_what_is_reported_gone_is_missing_and_not_asked_for(box: Box) -> None:
    batches = bulk(box, 6)
    take(box, [batches[5]])
    detail = {"epoch": box.epoch.hex(), "stream": 0, "first": 2, "last": 4}
    gone = event(EventKind.BATCHES_GONE, NOON, event_id="gone-1", **detail)
    take(box, [box.sealed(events=[gone], stream=Stream.URGENT)])
    assert asked(due_asks(SOON)) == [(Stream.BULK, 1, 1), (Stream.BULK, 5, 5)]
    assert holes(Epoch.objects.get(), Stream.BULK) == [(1, 5)]
    take(box, [batches[0], batches[4]])
    assert due_asks(NOON + timedelta(days=1)) == []
    assert holes(Epoch.objects.get(), Stream.BULK) == [(2, 4)]
    before = [(row.first, row.last) for row in GoneBatches.objects.all()], head_values()
    rebuild()
    assert ([(row.first, row.last) for row in GoneBatches.objects.all()], head_values()) == before
    assert due_asks(NOON + timedelta(days=2)) == []


def head_values() -> list[tuple[object, ...]]:
    fields = ("stream", "newest", "last_append_seq", "declared")
    return sorted(StreamHead.objects.values_list(*fields))


@pytest.mark.parametrize(
    "detail",
    [
        {},
        {"epoch": "no hex", "stream": 0, "first": 1, "last": 2},
        {"epoch": bytes(16).hex(), "stream": 0, "first": 1, "last": 2},
        {"epoch": "own", "stream": 2, "first": 1, "last": 2},
        {"epoch": "own", "stream": 0, "first": 0, "last": 2},
        {"epoch": "own", "stream": 0, "first": 3, "last": 2},
        {"epoch": "own", "stream": 0, "first": "1", "last": 2},
    ],
)
def test_a_report_that_names_nothing_of_its_sender_is_an_event_and_no_more(
    box: Box, detail: dict[str, str | int]
) -> None:
    if detail.get("epoch") == "own":
        detail["epoch"] = box.epoch.hex()
    gone = event(EventKind.BATCHES_GONE, NOON, event_id="gone-1", **detail)
    take(box, [box.sealed(events=[gone], stream=Stream.URGENT)])
    assert not GoneBatches.objects.exists()


def test_what_lies_among_the_dead_letters_is_not_asked_for(box: Box) -> None:
    batches = bulk(box, 2)
    box.hashes[Stream.BULK] = bytes(32 * [7])  # the third does not join the second
    batches += bulk(box, 2)
    take(box, batches[:2])
    answer = apply_batch(batches[2], box.name, NOON)
    assert answer is not None
    assert not answer.committed
    take(box, batches[3:])
    assert holes(Epoch.objects.get(), Stream.BULK) == [(3, 3)]
    assert due_asks(NOON + timedelta(days=1)) == []


def test_a_question_is_bounded_and_a_revoked_collector_is_asked_nothing(box: Box) -> None:
    take(box, urgent(box, 1, beside=2**62))
    (ask,) = due_asks(SOON)
    assert (ask.first, ask.last) == (1, BATCHES_AT_ONCE)
    assert due_asks(SOON) == []
    row = collector_row(box)
    row.revoked_at = NOON
    row.save()
    assert due_asks(NOON + timedelta(days=1)) == []
