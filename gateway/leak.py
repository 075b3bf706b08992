"""Feeds stored reads to leak detection, keeps its snapshot, turns its alarms into events.

Detection sees a read only after it is durable, in the order of the store. Once an hour everything it knows is written
with the append_seq up to which it has seen; at a start the snapshot is read back and what was stored since is fed
again, so its state is as if it had never stopped. Alarm ids are a function of the reads, and the store refuses an event
id it has: a replay repeats nothing, and an alarm whose event a power cut took is made good.
"""

from __future__ import annotations

import json
import logging
import zlib
from typing import TYPE_CHECKING, Any, Protocol

from domain.ids import MeterId, RegisterId
from domain.leak import LeakDetector
from domain.leak_rules import LeakRules
from domain.reading import Event, EventKind, ReadFlag, ReadQuality, Register, StoredRead
from domain.units import Unit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from domain.clock import Clock
    from domain.leak import LeakChange
    from domain.reading import RegisterRead, StoredEvent

SNAPSHOT = "leak"
SNAPSHOT_EVERY_S = 3600.0
REGISTER = RegisterId("total")
_REPLAY_ITEMS = 1000
_FORMAT = 1

log = logging.getLogger(__name__)


class LeakStore(Protocol):
    """What leak detection needs of buffer.store.Store."""

    @property
    def epoch(self) -> bytes:
        """The store's epoch: append_seq counts within it."""
        ...

    def save_snapshot(self, name: str, append_seq: int, blob: bytes) -> None:
        """Keep a state with the append_seq that it covers."""
        ...

    def load_snapshot(self, name: str) -> tuple[int, bytes] | None:
        """Return the state that was kept last."""
        ...

    def items_since(self, append_seq: int, *, limit: int) -> list[StoredRead | StoredEvent]:
        """Return what was stored after append_seq, in order."""
        ...


class LeakWatch:
    """Leak detection over all meters of a collector."""

    def __init__(self, store: LeakStore, *, clock: Clock, rules: LeakRules | None = None) -> None:
        self._store, self._clock, self._rules = store, clock, rules or LeakRules()
        self._detectors: dict[tuple[MeterId, RegisterId], LeakDetector] = {}
        self._fed_seq = self._saved_seq = 0
        self._saved_s = clock.monotonic()
        self._replayed: list[Event] = []

    @classmethod
    def restore(cls, store: LeakStore, *, clock: Clock, rules: LeakRules | None = None) -> LeakWatch:
        """Return the watch as if it had never stopped.

        The alarms of the replayed reads come out of the first feed(), whatever it is fed; appending those that are
        already stored does nothing.
        """
        watch = cls(store, clock=clock, rules=rules)
        watch._load()
        while items := store.items_since(watch._fed_seq, limit=_REPLAY_ITEMS):
            watch._replayed += watch._events([item for item in items if isinstance(item, StoredRead)])
            watch._fed_seq = items[-1].append_seq
        return watch

    def feed(self, stored: Sequence[StoredRead]) -> list[Event]:
        """Take reads that were made durable, in the order of the store; return the alarms that opened and closed."""
        events, self._replayed = self._replayed, []
        return events + self._events(stored)

    def open_alarms(self) -> list[dict[str, str | int]]:
        """Return the leaks that are open now, as a status shows them."""
        found = [(meter_id, detector.open_alarm) for (meter_id, _), detector in list(self._detectors.items())]
        return [
            {
                "meter": str(meter_id),
                "rule": alarm.rule,
                "since": alarm.since.isoformat(),
                "litres": alarm.litres,
                "litres_per_h": alarm.litres_per_h,
            }
            for meter_id, alarm in found
            if alarm is not None
        ]

    def maybe_snapshot(self, last_append_seq: int) -> bool:
        """Write a snapshot when the last one is an hour old; return whether one was written.

        last_append_seq  of what was stored last: nothing is written when all of it is in the snapshot already.
        """
        if self._clock.monotonic() - self._saved_s < SNAPSHOT_EVERY_S:
            return False
        self.snapshot(last_append_seq)
        return True

    def snapshot(self, last_append_seq: int) -> None:
        """Write a snapshot now, as a service does when it stops.

        Its watermark is the last read that was fed, whatever is stored beyond: a read between append and feed is
        replayed at the next start, not lost.
        """
        self._saved_s = self._clock.monotonic()
        if last_append_seq <= self._saved_seq:
            return
        self._saved_seq = self._fed_seq
        document = {
            "format": _FORMAT,
            "epoch": self._store.epoch.hex(),
            "registers": [[_register_as_json(d.register), d.state()] for d in self._detectors.values()],
        }
        blob = zlib.compress(json.dumps(document, separators=(",", ":")).encode())
        self._store.save_snapshot(SNAPSHOT, self._fed_seq, blob)

    def _load(self) -> None:
        """Take over the last snapshot; one that cannot be read is left aside, and every stored read is fed again."""
        saved = self._store.load_snapshot(SNAPSHOT)
        if saved is None:
            return
        append_seq, blob = saved
        try:
            document = json.loads(zlib.decompress(blob))
            if document["format"] != _FORMAT or document["epoch"] != self._store.epoch.hex():
                log.warning("leak detection starts from the stored reads: its snapshot is of another store or version")
                return
            detectors = [
                LeakDetector.restore(_register_from_json(register), state, self._rules)
                for register, state in document["registers"]
            ]
        except (ValueError, KeyError, TypeError, AttributeError, zlib.error) as error:
            log.warning("leak detection starts from the stored reads: its snapshot cannot be read (%s)", error)
            return
        self._detectors = {(d.register.meter_id, d.register.register_id): d for d in detectors}
        self._fed_seq = append_seq

    def _events(self, stored: Sequence[StoredRead]) -> list[Event]:
        """Feed reads that were not fed yet; anything but a measured total is no evidence."""
        events = []
        for item in stored:
            read = item.read
            if item.append_seq <= self._fed_seq:
                continue
            self._fed_seq = item.append_seq
            if read.quality is not ReadQuality.MEASURED or read.register.register_id != REGISTER:
                continue
            live = read.flags is ReadFlag.NONE or ReadFlag.FROM_HISTORY not in read.flags
            for change in self._detector(read.register).feed(
                read.read_at, read.raw_count, seq=item.append_seq, live=live
            ):
                events.append(_event(change, read))
        return events

    def _detector(self, register: Register) -> LeakDetector:
        """Return the register's detector; a register whose unit, scale or modulus changed is another one."""
        key = (register.meter_id, register.register_id)
        detector = self._detectors.get(key)
        if detector is None or (detector.register is not register and detector.register != register):
            detector = self._detectors[key] = LeakDetector(register, self._rules)
        return detector


def _event(change: LeakChange, read: RegisterRead) -> Event:
    """Return an alarm's opening or closing as an event at the read that proved it."""
    kind = EventKind.LEAK_OPENED if change.opened else EventKind.LEAK_CLEARED
    return Event(
        event_id=f"{change.alarm_id}-{'opened' if change.opened else 'cleared'}",
        kind=kind,
        at=read.read_at,
        clock=read.clock,
        meter_id=read.register.meter_id,
        detail={
            "alarm": change.alarm_id,
            "rule": change.rule,
            "register": str(read.register.register_id),
            "since": change.since.isoformat(),
            "until": change.last.isoformat(),
            "counts": change.counts,
            "litres": change.litres,
            "litres_per_h": change.litres_per_h,
            "append_seqs": [change.first_seq, change.last_seq],
        },
    )


def _register_as_json(register: Register) -> list[Any]:
    return [register.meter_id, register.register_id, register.unit.value, register.scale, register.modulus]


def _register_from_json(fields: list[Any]) -> Register:
    meter_id, register_id, unit, scale, modulus = fields
    return Register(MeterId(meter_id), RegisterId(register_id), Unit(unit), scale, modulus)
