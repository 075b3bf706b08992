"""The last way to make room: older interval reads give way so that the volume between those that stay is exact.

Registers count up, so a read between two others can go and nothing but the detail in between is lost. Finest first and
oldest first: one read a quarter hour stays, where that is not enough one an hour, six hours, a day; at most as much as
an append needs and a little more. Never thinned:
    what is in a batch, or was asked for, or is an event or alarm
    the first and the last read of every UTC day
    reads of any quality but measured, with a reason or a meter's complaint, and those beside them
    both reads of a roll-over, of a count that went back, and of a change of the clock's state
    reads without which a count would rise by more than half its dial, which could be taken for a step back
    reads beyond a snapshot's place: leak detection would be fed them again at the next start
Each transaction deletes some reads and reports them with an event; a power cut leaves both or neither.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from buffer import streams
from buffer.errors import StoreFull
from buffer.rows import from_us
from domain.ids import Stream
from domain.reading import ReadFlag, ReadQuality, Reason

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from buffer.database import Database

KEPT_EVERY_S = (900, 3600, 6 * 3600, 86_400)
_DAY_US = 86_400_000_000
_YEAR_1_US = 719_162 * _DAY_US  # added, so that dividing rounds down for any moment
_LEAST_READS = 16
_PLAIN = (
    f"quality = {int(ReadQuality.MEASURED)} AND reason = {int(Reason.NONE)} "
    f"AND flags & ~{int(ReadFlag.RETRIED | ReadFlag.FROM_HISTORY)} = 0"
)
# Neighbours are those of the same register in the order of their own time, within the run of append order that is
# looked at; at its edges they are not known (NULL), and what is compared with NULL stays. After a clock was set back,
# reads of another run may lie in between: then other reads stay, and the volume is the same. To hold back every read
# that another run's times overlap would stop all thinning after one wrong year.
_SPARE = f"""
WITH span AS (
  SELECT append_seq, register, raw_count, read_at_us + {_YEAR_1_US} AS at_us, clock, {_PLAIN} AS plain
  FROM read WHERE append_seq > :after AND append_seq <= :last),
beside AS (
  SELECT *, at_us / :kept_us AS bucket, at_us / {_DAY_US} AS day,
    LAG(plain) OVER w AS plain_before, LEAD(plain) OVER w AS plain_after,
    LAG(raw_count) OVER w AS count_before, LEAD(raw_count) OVER w AS count_after,
    LAG(clock) OVER w AS clock_before, LEAD(clock) OVER w AS clock_after,
    LAG(at_us) OVER w / :kept_us AS bucket_before, LEAD(at_us) OVER w / {_DAY_US} AS day_after,
    MAX(raw_count) OVER b - MIN(raw_count) OVER b AS rise
  FROM span WINDOW w AS (PARTITION BY register ORDER BY at_us, append_seq),
    b AS (PARTITION BY register, at_us / :kept_us)),
fitting AS (
  SELECT beside.*, COALESCE(CAST(modulus AS REAL), 1e300) / 4 AS most_rise
  FROM beside JOIN register ON register.ref = beside.register)
SELECT append_seq, register, at_us - {_YEAR_1_US} FROM fitting
WHERE plain AND plain_before AND plain_after AND count_before <= raw_count AND raw_count <= count_after
  AND rise <= most_rise AND count_after - raw_count <= most_rise
  AND clock_before = clock AND clock_after = clock AND bucket_before = bucket AND day_after = day
ORDER BY append_seq"""  # noqa: S608 (our own words)


@dataclass(frozen=True, slots=True)
class Thinned:
    """What one transaction deleted, as its event reports it."""

    kept_every_s: int
    registers: int
    reads: int
    start: datetime
    end: datetime
    first_seq: int
    last_seq: int

    def as_detail(self) -> dict[str, str | int]:
        """Return it as the detail of an event."""
        return {
            "registers": self.registers,
            "reads": self.reads,
            "from": self.start.isoformat(),
            "to": self.end.isoformat(),
            "kept_every_s": self.kept_every_s,
            "first_seq": self.first_seq,
            "last_seq": self.last_seq,
        }


class Thinning:
    """Thins one store; nobody seals meanwhile, so that no read is both in a batch and reported as gone.

    report  writes the event of what was deleted, inside the same transaction.
    """

    def __init__(self, database: Database, report: Callable[[sqlite3.Connection, Thinned], None]) -> None:
        self._database, self._report = database, report
        with database.read() as db:
            known = dict(db.execute("SELECT name, value FROM fact WHERE name LIKE 'thinned_every_%'"))
        self._done = {kept_s: known.get(f"thinned_every_{kept_s}", 0) for kept_s in KEPT_EVERY_S}

    def make_room(self, *, pages: int) -> int:
        """Delete until so many pages are free for an append, or nothing is left to thin; returns the reads deleted."""
        deleted = 0
        for kept_s in KEPT_EVERY_S:
            for window in self._windows(kept_s):
                deleted += self._thin(window, kept_s, pages)
                if self._database.free_pages() >= pages:
                    return deleted
        return deleted

    def _windows(self, kept_s: int) -> Iterator[tuple[int, int, bool]]:
        """Yield runs of append order, oldest first: after, last, and whether more follow behind them."""
        with self._database.read() as db:
            end = _end(db)
            registers = db.execute("SELECT COUNT(*) FROM register").fetchone()[0]
            sealed = streams.place_of(db, Stream.BULK).sealed_through
        rows = min(50_000, max(2_000, 100 * registers))
        after = max(self._done[kept_s], sealed)
        nth = (
            "SELECT append_seq FROM read WHERE append_seq > ? AND append_seq <= ? ORDER BY append_seq LIMIT 1 OFFSET ?"
        )
        while after < end:
            with self._database.read() as db:
                found = db.execute(nth, (after, end, rows - 1)).fetchone()
            last = found[0] if found else end
            yield after, last, found is not None
            after = last

    def _thin(self, window: tuple[int, int, bool], kept_s: int, pages: int) -> int:
        after, last, more_follow = window
        values = {"after": after, "last": last, "kept_us": kept_s * 1_000_000}
        with self._database.read() as db:
            spare = db.execute(_SPARE, values).fetchall()
        # A run that is still growing is looked at again: its newest reads have neighbours then.
        done = last if more_follow else None
        deleted, at_once = 0, self._database.sizes.rows_at_once
        while spare and self._database.free_pages() < pages:
            rows, rest = spare[:at_once], spare[at_once:]
            through = rows[-1][0] if rest else done
            try:
                self._delete(rows, kept_s, through)
            except StoreFull:
                at_once //= 4  # spread over more pages than the log has room for
                if at_once < _LEAST_READS:
                    raise
            else:
                deleted, spare = deleted + len(rows), rest
                self._done[kept_s] = through or self._done[kept_s]
        if not spare and done is not None:
            self._done[kept_s] = done
        return deleted

    def _delete(self, rows: list[tuple[int, int, int]], kept_s: int, done: int | None) -> None:
        times = [row[2] for row in rows]
        seqs = [row[0] for row in rows]
        registers = len({row[1] for row in rows})
        what = Thinned(kept_s, registers, len(rows), from_us(min(times)), from_us(max(times)), seqs[0], seqs[-1])
        self._database.fold_log()
        with self._database.write(from_reserve=True) as db:
            db.executemany("DELETE FROM read WHERE append_seq = ?", [(seq,) for seq in seqs])
            _add(db, "thinned_reads", len(rows))
            if done is not None:
                db.execute("INSERT OR REPLACE INTO fact VALUES (?, ?)", (f"thinned_every_{kept_s}", done))
            self._report(db, what)


def _end(db: sqlite3.Connection) -> int:
    """Return the append_seq up to which no snapshot needs a read any more."""
    query = "SELECT MIN(COALESCE((SELECT MIN(append_seq) FROM snapshot), 1 << 62), (SELECT MAX(append_seq) FROM read))"
    return int(db.execute(query).fetchone()[0] or 0)


def _add(db: sqlite3.Connection, name: str, count: int) -> None:
    db.execute(
        "INSERT INTO fact VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = value + excluded.value", (name, count)
    )
