"""Thinning: volume stays exact, what must stay stays, and what went is told to the last read."""

from __future__ import annotations

import contextlib
import sqlite3
import tempfile
from collections import defaultdict
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from buffer import thinning
from buffer.errors import StoreFull
from buffer.store import Store
from domain.clock import ClockState, ManualClock
from domain.ids import Stream
from domain.reading import (
    EventKind,
    ReadFlag,
    ReadQuality,
    Reason,
    Register,
    RegisterRead,
    StoredEvent,
    StoredRead,
)
from domain.usage import CountPoint, unrolled
from tests.buffer.conftest import BOOT, COLLECTOR, START, encode, event, fat, register

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from domain.reading import Event

EVERYTHING = 10**9
SMALL_BYTES = 2 * 1024 * 1024


def thin(store: Store, *, pages: int = EVERYTHING) -> int:
    with store._sealing:
        return store._thinning.make_room(pages=pages)


def items(store: Store) -> tuple[dict[int, RegisterRead], dict[int, Event]]:
    found = store.items_since(0, limit=10**6)
    return (
        {item.append_seq: item.read for item in found if isinstance(item, StoredRead)},
        {item.append_seq: item.event for item in found if isinstance(item, StoredEvent)},
    )


def told(events: dict[int, Event]) -> list[Event]:
    return [found for found in events.values() if found.kind is EventKind.READS_THINNED]


def number(value: object) -> int:
    assert isinstance(value, int)
    return value


def polled(reads: int, *, every_s: int, meters: int = 2, step: int = 3) -> list[RegisterRead]:
    """Return rounds of meters as a bus makes them: some seconds between two of them."""
    made = []
    for n in range(reads):
        for meter in range(meters):
            at = START + timedelta(seconds=n * every_s + meter)
            clock = ClockState(BOOT, (n * every_s + meter) * 10**9, True, START)
            made.append(RegisterRead(register(meter), n * step, at, clock))
    return made


class History(list[list[RegisterRead]]):
    """Rounds of reads, too many to print."""

    def __repr__(self) -> str:
        return f"<{len(self)} rounds>"


@st.composite
def histories(draw: st.DrawFn) -> History:
    """Rounds of two or three meters over some days, with everything that must not be thinned here and there."""
    every_s, rounds = draw(st.sampled_from([(60, 300), (400, 400), (900, 250), (3600, 80)]))
    moduli = draw(st.lists(st.sampled_from([None, 100, 1000, 10**8]), min_size=2, max_size=3))
    registers = [replace(register(n), modulus=modulus) for n, modulus in enumerate(moduli)]
    rare = st.sets(st.integers(0, rounds - 1), max_size=4)
    marks: list[tuple[set[int], Callable[[RegisterRead], RegisterRead]]] = [
        (draw(rare), lambda read: read.marked(ReadQuality.SUSPECT, Reason.IMPLAUSIBLE_STEP)),
        (draw(rare), lambda read: replace(read, flags=ReadFlag.METER_ALARM)),
        (draw(rare), lambda read: replace(read, flags=ReadFlag.ON_DEMAND)),
        (draw(rare), lambda read: replace(read, raw_count=max(0, read.raw_count - 7))),
        (draw(rare), lambda read: replace(read, clock=replace(read.clock, synchronised=False))),
    ]
    if not {100, 1000} & set(moduli):  # a step of the clock and most of a dial within hours: which way is then unknown
        marks.append((draw(rare), lambda read: replace(read, read_at=read.read_at - timedelta(hours=2, seconds=0.5))))
    largest = draw(st.sampled_from([3, 30, 90]))
    steps = draw(st.lists(st.integers(0, largest), min_size=20, max_size=20))
    made, counts = History(), [0] * len(registers)
    for n in range(rounds):
        group = []
        for meter, reg in enumerate(registers):
            counts[meter] += steps[(n * 7 + meter) % 20]
            shown = counts[meter] if reg.modulus is None else counts[meter] % reg.modulus
            at = START + timedelta(seconds=n * every_s + meter)
            clock = ClockState(BOOT, (n * every_s + meter) * 10**9, True, START)
            read = RegisterRead(reg, shown, at, clock)
            for where, mark in marks:
                if n in where and meter == n % len(registers):
                    read = mark(read)
            group.append(read)
        made.append(group)
    return made


@settings(max_examples=15, deadline=None, phases=(Phase.explicit, Phase.generate))
@given(history=histories(), sealed=st.integers(0, 60), seen=st.none() | st.integers(0, 600), seed=st.integers(0, 99))
def test_volume_days_and_numbers_are_exact(history: History, sealed: int, seen: int | None, seed: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        clock = ManualClock(START + timedelta(days=5))
        with Store.open(Path(folder) / "store.db", clock=clock, max_bytes=SMALL_BYTES) as store:
            for n, group in enumerate(history):
                store.append(group, [event(f"e{n}")] if n % 50 == seed % 50 else [])
            if sealed:
                store.seal(Stream.BULK, COLLECTOR, encode, max_items=sealed)
            if seen is not None:
                store.save_snapshot("leak", seen, b"")
            cursor = store._database.connection.execute(
                "SELECT sealed_through FROM stream WHERE stream = 0"
            ).fetchone()[0]
            before, events_before = items(store)
            now = store._database.free_pages()
            deleted = sum(thin(store, pages=now + extra) for extra in (1, 2, EVERYTHING))
            after, events_after = items(store)
            check(before, after, cursor=cursor, seen=seen)
            assert events_before.items() <= events_after.items()
            reports = told(events_after)
            gone = set(before) - set(after)
            assert len(gone) == deleted == sum(number(report.detail["reads"]) for report in reports)
            assert store.status().thinned_reads == deleted
            check_reports(reports, before, gone)
            assert thin(store) == 0, "a second time finds nothing"


def check(before: dict[int, RegisterRead], after: dict[int, RegisterRead], *, cursor: int, seen: int | None) -> None:
    assert after.items() <= before.items(), "a read was changed"
    # Neighbours count among what may be thinned: a clock that was set back puts later reads between earlier ones.
    by_register: dict[Register, list[tuple[int, RegisterRead]]] = defaultdict(list)
    for seq, read in sorted(before.items(), key=lambda item: (item[1].read_at, item[0])):
        by_register[read.register].append((seq, read))
    for reg, stored in by_register.items():
        days = defaultdict(list)
        for seq, read in stored:
            days[read.read_at.date()].append(seq)
        must = {seq for seqs in days.values() for seq in (seqs[0], seqs[-1])}
        must |= {seq for seq in (pair[0] for pair in stored) if seq <= cursor or (seen is not None and seq > seen)}
        run = [pair for pair in stored if pair[0] > cursor and (seen is None or pair[0] <= seen)]
        for (left_seq, left), (seq, read), (right_seq, right) in zip(run, run[1:], run[2:], strict=False):
            if read.quality is not ReadQuality.MEASURED or read.flags:
                must |= {left_seq, seq, right_seq}
            if read.clock.synchronised != left.clock.synchronised or read.raw_count < left.raw_count:
                must |= {left_seq, seq}
            assert right.read_at >= read.read_at
        assert must <= set(after), "a read that must stay was thinned"
        whole = {p.at: p.count for p in unrolled(points(read for _, read in stored), reg.modulus)}
        thinned = unrolled(points(read for seq, read in stored if seq in after), reg.modulus)
        assert all(whole[point.at] == point.count for point in thinned), "volume is not what it was"


def points(reads: Iterable[RegisterRead]) -> list[CountPoint]:
    return [CountPoint(read.read_at, read.raw_count) for read in reads]


def check_reports(reports: list[Event], before: dict[int, RegisterRead], gone: set[int]) -> None:
    for report in reports:
        detail = report.detail
        inside = {seq for seq in gone if number(detail["first_seq"]) <= seq <= number(detail["last_seq"])}
        assert len(inside) >= number(detail["reads"])
        assert number(detail["registers"]) <= len({before[seq].register for seq in inside})
        assert detail["kept_every_s"] in thinning.KEPT_EVERY_S


def test_finest_first_and_no_more_than_needed(path: Path, clock: ManualClock) -> None:
    with Store.open(path, clock=clock, max_bytes=SMALL_BYTES) as store:
        store.append(polled(2000, every_s=60))
        deleted = thin(store, pages=store._database.free_pages() + 3)
        assert 0 < deleted < 1500
        reports = told(items(store)[1])
        assert {report.detail["kept_every_s"] for report in reports} == {900}
        assert max(number(report.detail["last_seq"]) for report in reports) < 2500, "the oldest go first"
        assert thin(store, pages=0) == 0
        thin(store)
        kept = [report.detail["kept_every_s"] for report in told(items(store)[1])]
        assert set(kept) == set(thinning.KEPT_EVERY_S)
        assert kept == sorted(kept), "coarser only once finer is done"


def test_what_is_done_is_remembered_over_a_restart(path: Path, clock: ManualClock) -> None:
    with Store.open(path, clock=clock, max_bytes=SMALL_BYTES) as store:
        store.append(polled(2000, every_s=60))
        thin(store, pages=store._database.free_pages() + 3)
        done = dict(store._thinning._done)
        reported = len(told(items(store)[1]))
        assert done[900] > 0
    with Store.open(path, clock=clock, max_bytes=SMALL_BYTES) as store:
        assert store._thinning._done == done
        assert len(told(items(store)[1])) == reported
        assert store.status().thinned_reads > 0


@pytest.mark.parametrize("statement", range(1, 9))
def test_a_crash_at_any_statement_leaves_both_or_neither(path: Path, clock: ManualClock, statement: int) -> None:
    """The connection dies at the n-th statement of a thinning transaction, as a power cut would end it."""
    with Store.open(path, clock=clock, max_bytes=SMALL_BYTES) as store:
        store.append(polled(2000, every_s=60))
        before, _ = items(store)

    class PowerCutError(BaseException):
        pass

    class Cut(sqlite3.Connection):
        left: int | None = None

        def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
            self._count()
            return super().execute(sql, *values)

        def executemany(self, sql: str, *values: Any) -> sqlite3.Cursor:
            self._count()
            return super().executemany(sql, *values)

        def _count(self) -> None:
            if self.in_transaction and Cut.left is not None:
                Cut.left -= 1
                if Cut.left <= 0:
                    raise PowerCutError

    store = Store.open(path, clock=clock, max_bytes=SMALL_BYTES, connection=Cut)
    Cut.left = statement
    with contextlib.suppress(PowerCutError):
        thin(store, pages=store._database.free_pages() + 3)
    Cut.left = None
    store.close()
    with Store.open(path, clock=clock, max_bytes=SMALL_BYTES) as store:
        after, events = items(store)
        gone = len(before) - len(after)
        assert gone == sum(number(report.detail["reads"]) for report in told(events)) == store.status().thinned_reads


def test_a_full_store_goes_on_with_coarser_history(path: Path, clock: ManualClock) -> None:
    """Far more reads than fit, and no link: every one is taken, the days stay whole, and the portal hears of it."""
    asked = []
    with Store.open(path, clock=clock, max_bytes=1024 * 1024) as store:
        store.before_thinning = lambda: asked.append(1)
        everything = polled(7_000, every_s=60)
        for first in range(0, len(everything), 100):
            store.append(everything[first : first + 100], [event(f"e{first}")] if first % 700 == 0 else [])
        status = store.status()
        assert status.bytes_used <= 1024 * 1024
        after, events = items(store)
        assert len(after) + status.thinned_reads == len(everything)
        assert sum(number(report.detail["reads"]) for report in told(events)) == status.thinned_reads > 1_000
        assert sum(found.kind is EventKind.METER_RETURNED for found in events.values()) == len(everything) // 700
        assert asked
        check({seq: read for seq, read in enumerate_seqs(everything, events)}, after, cursor=0, seen=None)


def enumerate_seqs(reads: list[RegisterRead], events: dict[int, Event]) -> list[tuple[int, RegisterRead]]:
    """Number the reads as the store did: events took the numbers in between."""
    seqs = iter(range(1, 10**6))
    return [(next(seq for seq in seqs if seq not in events), read) for read in reads]


def test_nothing_is_thinned_for_somebody_elses_files(
    path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store.open(path, clock=clock) as store:
        store.append(polled(2000, every_s=60))
        monkeypatch.setattr(store._database, "grow", lambda: False)
        with contextlib.suppress(StoreFull):
            while True:
                store.append([], fat(store.status().last_append_seq, 10))
        assert store.status().thinned_reads == 0


def test_what_lacks_room_in_the_log_costs_no_history(
    path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store.open(path, clock=clock, max_bytes=SMALL_BYTES) as store:
        store.append(polled(6000, every_s=60))

        def no_log(*_: object) -> list[int | None]:
            raise StoreFull("the log cannot grow")

        monkeypatch.setattr(store, "_append_new", no_log)
        with pytest.raises(StoreFull):
            store.append(polled(1, every_s=60))
        assert store.status().thinned_reads == 0
