"""What a driver is, and what it is given: a target, a link that moves bytes, a deadline and a clock.

A driver decodes and asks; it holds no state between meters and never retries, because the bus owner knows better what
a second attempt is worth. The link owns time-outs and stamps the last byte, so a read carries the moment it arrived.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from domain.clock import ClockState, machine_boot_id

if TYPE_CHECKING:
    from collections.abc import Iterator

    from domain.clock import Clock
    from domain.ids import MeterId
    from domain.reading import RegisterRead
    from domain.units import Unit

# A clock that runs faster than the machine's leaves a simulated meter less real time than its scheduler may take.
SCALED_SLACK_REAL_S = 0.05


class Deadline:
    """A moment of a clock's monotonic time after which nobody waits any more.

    With a clock that runs faster than the machine's it lies SCALED_SLACK_REAL_S of the machine's time later than asked.
    """

    __slots__ = ("_ends", "_monotonic", "_slack_s")

    def __init__(self, clock: Clock, seconds: float) -> None:
        real_s_per_s = clock.real_seconds(1.0)
        self._slack_s = SCALED_SLACK_REAL_S / real_s_per_s if 0 < real_s_per_s < 1 else 0.0
        self._monotonic = clock.monotonic
        self._ends = clock.monotonic() + seconds + self._slack_s

    def remaining_s(self) -> float:
        """Return the clock's seconds that are left; 0.0 once it has passed."""
        left_s = self._ends - self._monotonic()
        return left_s if left_s > 0 else 0.0

    @property
    def expired(self) -> bool:
        """Whether it has passed."""
        return self._monotonic() >= self._ends

    def within(self, seconds: float) -> Deadline:
        """Return the earlier of this deadline and one `seconds` from now."""
        ends = self._monotonic() + seconds + self._slack_s
        if ends >= self._ends:
            return self
        inner = Deadline.__new__(Deadline)
        inner._ends, inner._monotonic, inner._slack_s = ends, self._monotonic, self._slack_s
        return inner


class Link(Protocol):
    """The bytes of one serial line or TCP endpoint. One owner, one exchange at a time.

    kind          "serial" or "tcp".
    char_time_s   clock seconds that one character takes on the wire, 0.0 for TCP.
    last_byte_at  (wall, monotonic) of the clock when the last byte was received.
    """

    kind: str
    char_time_s: float
    last_byte_at: tuple[datetime, float]

    def send(self, data: bytes) -> None:
        """Hand all bytes to the line. raises LinkDown."""
        ...

    def receive(self, size: int, deadline: Deadline) -> bytes:
        """Return `size` bytes, fewer only when the deadline passes. raises LinkDown."""
        ...

    def discard_input(self) -> None:
        """Drop what came unasked. raises LinkDown."""
        ...

    def close(self) -> None:
        """Give the line back. Closing twice is no error."""
        ...


@dataclass(frozen=True, slots=True)
class MeterTarget:
    """One meter as commissioned.

    address   how the line knows it: M-Bus "17" or "s:04990254", Modbus "1" to "247".
    model     the register map's name (Modbus); None for meters that describe themselves (M-Bus).
    identity  what the meter is expected to state of itself (M-Bus: 8 digits; Modbus: its serial); None: not checked.
    unit, scale  of the total where the meter does not say and the map only has a usual value; None: as the map says.
    """

    meter_id: MeterId
    address: str
    model: str | None = None
    identity: str | None = None
    unit: Unit | None = None
    scale: int | None = None

    def __hash__(self) -> int:
        """Return the hash of the meter id, which no two targets of a plan share."""
        return hash(self.meter_id)


@dataclass(frozen=True, slots=True)
class MeterReply:
    """What one meter answered.

    meter_id    of the meter that answered; not the target's when `unexpected`.
    unexpected  the meter stated another identity than expected; its reads are SUSPECT under the identity that answered.
    alarms      names of what the meter complains of.
    identity    what the meter stated of itself, None when it states nothing.
    reply       the bytes as received: evidence.
    """

    meter_id: MeterId
    unexpected: bool
    reads: tuple[RegisterRead, ...]
    alarms: tuple[str, ...]
    identity: str | None
    reply: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ScanResult:
    """One step of a search: an address that was tried, and who was there.

    step, steps  how far the search is; steps is None where the number is not known beforehand.
    found        whether a meter answered at `address`.
    detail       for a person: medium, model, or why the answer could not be read.
    """

    address: str
    found: bool
    step: int
    steps: int | None
    meter_id: MeterId | None = None
    identity: str | None = None
    model: str | None = None
    detail: str = ""


class MeterDriver(Protocol):
    """Reads every register of one meter. Holds no state between meters; never retries (the bus owner does)."""

    name: str

    def read(self, target: MeterTarget, link: Link, *, deadline: Deadline, clock: Clock) -> MeterReply:
        """Ask one meter once. raises NoReply, BadReply, LinkDown, ConfigError (a target that makes no sense)."""
        ...

    def scan(self, link: Link, *, clock: Clock, first: int = 1, last: int | None = None) -> Iterator[ScanResult]:
        """Try address after address; one result each, so that a caller can show progress and stop at any time."""
        ...

    def exchange_time_s(self, target: MeterTarget, *, char_time_s: float) -> float:
        """Return the usual seconds that one read occupies the line: for the bus budget."""
        ...

    def timeout_s(self, target: MeterTarget, *, char_time_s: float) -> float:
        """Return the seconds that one read may take at most: for its deadline."""
        ...


def last_byte_state(link: Link) -> tuple[datetime, ClockState]:
    """Return the moment of a link's last byte as `read_at` and the clock state that goes with it.

    Whether the machine's clock was set is not a driver's to know: `synchronised` is True here and the gateway, which
    watches the clock, replaces it where it is not.
    """
    wall, monotonic_s = link.last_byte_at
    return wall, ClockState(machine_boot_id(), round(monotonic_s * 1e9), synchronised=True)
