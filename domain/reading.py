"""What a meter said, how far it can be trusted, and what happened at a moment."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum, IntEnum, IntFlag
from types import MappingProxyType
from typing import TYPE_CHECKING

from domain.clock import ClockState
from domain.ids import MeterId, RegisterId
from domain.units import Unit

if TYPE_CHECKING:
    from collections.abc import Mapping


class ReadQuality(IntEnum):
    """How a read came to be; survives from the wire to the printed bill. The number goes on the wire."""

    MEASURED = 0
    ESTIMATED = 1
    EDITED = 2
    SUSPECT = 3
    MISSING = 4


class Reason(IntEnum):
    """Why a read has its quality; NONE for a plain measured read. The number goes on the wire: add, never renumber."""

    NONE = 0
    UNEXPECTED_METER = 1
    IMPLAUSIBLE_STEP = 2
    METER_FAULT = 3
    CLOCK_NOT_SET = 4
    INTERPOLATED = 5
    MANUAL = 6


class ReadFlag(IntFlag):
    """Facts beside the count. The number goes on the wire: add, never renumber."""

    NONE = 0
    RETRIED = 1
    FROM_HISTORY = 2
    METER_ALARM = 4
    LOW_BATTERY = 8
    ON_DEMAND = 16


@dataclass(frozen=True, slots=True)
class Register:
    """One counter of one meter: what a count of it is worth, and where it rolls over.

    scale    one count is 10**scale of `unit`.
    modulus  the count at which it returns to zero (10**digits for a dial); None when it never does.
    """

    meter_id: MeterId
    register_id: RegisterId
    unit: Unit
    scale: int
    modulus: int | None = None

    def __post_init__(self) -> None:
        if not -9 <= self.scale <= 9:
            raise ValueError(f"a register's scale is a power of ten from -9 to 9, not {self.scale}")
        if self.modulus is not None and self.modulus < 2:
            raise ValueError(f"a register rolls over at 2 or more, not {self.modulus}")


@dataclass(frozen=True, slots=True)
class RegisterRead:
    """A cumulative count at one moment, as the meter transmitted it.

    raw_count  the integer in the register's own unit and scale; never converted, never a float.
    read_at    aware UTC, stamped when the last byte of the reply arrived.
    clock      what was known of the clock then.
    """

    register: Register
    raw_count: int
    read_at: datetime
    clock: ClockState
    quality: ReadQuality = ReadQuality.MEASURED
    reason: Reason = Reason.NONE
    flags: ReadFlag = ReadFlag.NONE

    def __post_init__(self) -> None:
        if self.read_at.tzinfo is None:
            raise ValueError("read_at is an aware datetime")
        if self.register.modulus is not None and not 0 <= self.raw_count < self.register.modulus:
            raise ValueError(f"count {self.raw_count} is outside the register's 0 to {self.register.modulus - 1}")

    def marked(self, quality: ReadQuality, reason: Reason) -> RegisterRead:
        """Return the read with another quality and its reason."""
        return replace(self, quality=quality, reason=reason)


@dataclass(frozen=True, slots=True)
class Interval:
    """A volume between two moments, labelled by its start. `counts` is in the register's own unit and scale.

    quality       the worst of the two boundary reads.
    interpolated  a boundary lies between two reads, so the split is by time.
    counts        None where nothing is known (quality MISSING): a gap, never a zero.
    """

    start: datetime
    end: datetime
    counts: int | None
    quality: ReadQuality = ReadQuality.MEASURED
    interpolated: bool = False


class EventKind(Enum):
    """What happened; the value is what goes on the wire and into databases."""

    LEAK_OPENED = "leak-opened"
    LEAK_CLEARED = "leak-cleared"
    BACKFLOW = "backflow"
    TAMPER = "tamper"
    METER_ALARM = "meter-alarm"
    METER_SILENT = "meter-silent"
    METER_RETURNED = "meter-returned"
    LINE_DOWN = "line-down"
    LINE_RETURNED = "line-returned"
    BAD_REPLY = "bad-reply"
    IDENTITY_CHANGED = "identity-changed"
    REGISTER_SWAP = "register-swap"
    CLOCK_STEP = "clock-step"
    DISK_PRESSURE = "disk-pressure"
    READS_THINNED = "reads-thinned"
    STORE_SALVAGED = "store-salvaged"
    CONFIG_APPLIED = "config-applied"
    CONFIG_REFUSED = "config-refused"
    BATCH_REJECTED = "batch-rejected"
    BATCHES_GONE = "batches-gone"
    COMMAND_DONE = "command-done"
    TECHNICIAN_ACTION = "technician-action"
    STARTED = "started"
    STOPPED = "stopped"

    @property
    def urgent(self) -> bool:
        """Whether it travels in the urgent stream, ahead of any backlog."""
        return self in _URGENT


_URGENT = frozenset(
    {
        EventKind.LEAK_OPENED,
        EventKind.LEAK_CLEARED,
        EventKind.BACKFLOW,
        EventKind.TAMPER,
        EventKind.METER_SILENT,
        # Answers to what the portal asked travel with the alarms.
        EventKind.BATCHES_GONE,
        EventKind.COMMAND_DONE,
    }
)


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened at a moment.

    event_id  deterministic where it must be (alarms: a replay makes the same id, and the store keeps one); else unique.
    detail    text and integers only (and lists of them), so that it is the same on every wire.
    """

    event_id: str
    kind: EventKind
    at: datetime
    clock: ClockState
    meter_id: MeterId | None = None
    detail: Mapping[str, str | int | list[int] | list[str]] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        if self.at.tzinfo is None:
            raise ValueError("an event happens at an aware datetime")


@dataclass(frozen=True, slots=True)
class StoredRead:
    """A read with its place in a store: `append_seq` never repeats within an epoch."""

    append_seq: int
    read: RegisterRead


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event with its place in a store; reads and events share one numbering."""

    append_seq: int
    event: Event
