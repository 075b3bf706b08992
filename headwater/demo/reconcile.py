"""Three records of the same water, kept by three parties, matched one to one.

The simulator logs every reply that left a meter, the collector every read that `append` returned for, the portal holds
what it committed. A read is known by (meter, epoch, append_seq) from the collector on; a reply is matched to a read by
meter, register, count and moment. Nothing here trusts the code under test to say how much there was.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

ReadKey = tuple[str, str, int]


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply that left a simulated meter; `at_s` is the (virtual) second its last byte was written."""

    meter: str
    register: str
    count: int
    at_s: float


@dataclass(frozen=True, slots=True)
class KeptRead:
    """A read as the collector's append log or the portal states it."""

    meter: str
    epoch: str
    append_seq: int
    register: str
    count: int
    read_at_s: float

    @property
    def key(self) -> ReadKey:
        """What names it for ever."""
        return self.meter, self.epoch, self.append_seq


@dataclass(slots=True)
class MeterResult:
    """What the records say of one meter."""

    meter: str
    replies: int = 0
    appended: int = 0
    at_portal: int = 0
    lost: int = 0
    duplicated: int = 0
    altered: int = 0
    in_flight_at_kill: int = 0
    dial: int | None = None
    portal_register: int | None = None
    register_difference: int | None = None
    usage_sum: int | None = None

    @property
    def equal(self) -> bool:
        """Whether every record agrees about this meter."""
        return (
            not (self.lost or self.duplicated or self.altered)
            and self.at_portal > 0
            and self.dial == self.portal_register
            and self.usage_sum == self.register_difference
        )


@dataclass(slots=True)
class Reconciliation:
    """The whole street's result; `faults` are sentences about anything else that was not as it must be."""

    meters: list[MeterResult]
    faults: list[str] = field(default_factory=list)

    def total(self, name: str) -> int:
        """Return the sum of one column over the meters."""
        return sum(getattr(meter, name) for meter in self.meters)

    @property
    def agrees(self) -> bool:
        """Whether all records agree about every meter."""
        return bool(self.meters) and not self.faults and all(meter.equal for meter in self.meters)

    def as_json(self) -> dict[str, Any]:
        """Return the object that `headwater demo --check --json` prints."""
        names = ("lost", "duplicated", "in_flight_at_kill", "replies", "appended", "at_portal", "altered")
        return {
            **{name: self.total(name) for name in names},
            "agrees": self.agrees,
            "faults": self.faults,
            "meters": [{**asdict(m), "equal": m.equal} for m in self.meters],
        }


def reconcile(
    *,
    meters: Sequence[str],
    replies: Iterable[Reply],
    appended: Iterable[KeptRead],
    at_portal: Iterable[KeptRead],
    kills_s: Mapping[str, Sequence[float]],
    commit_window_s: float,
    tolerance_s: float,
) -> Reconciliation:
    """Match the three records of every meter.

    kills_s          per meter, the (virtual) seconds at which its collector was killed.
    commit_window_s  how long before a kill a reply may have waited for its commit.
    tolerance_s      how far the moments of a reply and its read may lie apart.
    A reply without a read is `in_flight_at_kill` if a kill explains it, else `lost`: whatever was read and is nowhere.
    A read in the portal but not in the append log must have been committed just before a kill, and match a reply.
    """
    by_meter: dict[str, tuple[list[Reply], list[KeptRead], list[KeptRead]]] = defaultdict(lambda: ([], [], []))
    for reply in replies:
        by_meter[reply.meter][0].append(reply)
    for read in appended:
        by_meter[read.meter][1].append(read)
    for read in at_portal:
        by_meter[read.meter][2].append(read)
    results = [
        _one_meter(meter, *by_meter[meter], kills_s.get(meter, ()), commit_window_s, tolerance_s)
        for meter in sorted({*meters, *by_meter})
    ]
    return Reconciliation(results)


def _one_meter(
    meter: str,
    replies: list[Reply],
    appended: list[KeptRead],
    at_portal: list[KeptRead],
    kills_s: Sequence[float],
    commit_window_s: float,
    tolerance_s: float,
) -> MeterResult:
    result = MeterResult(meter, len(replies), len(appended), len(at_portal))
    logged = {read.key: read for read in appended}
    held = {read.key: read for read in at_portal}
    times_held = Counter(read.key for read in at_portal)
    result.duplicated = sum(times - 1 for times in times_held.values())
    result.lost = sum(key not in held for key in logged)
    result.altered = sum(
        (read.register, read.count) != (held[key].register, held[key].count)
        for key, read in logged.items()
        if key in held
    )
    unmatched_replies, unmatched_reads = _match(replies, list({**held, **logged}.values()), tolerance_s)
    # A read that no meter ever sent is worse than a repeated one: it is counted with them.
    result.duplicated += len(unmatched_reads)
    for reply in unmatched_replies:
        if any(-commit_window_s <= reply.at_s - kill <= tolerance_s for kill in kills_s):
            result.in_flight_at_kill += 1
        else:
            result.lost += 1
    return result


def _match(replies: list[Reply], reads: list[KeptRead], tolerance_s: float) -> tuple[list[Reply], list[KeptRead]]:
    """Pair replies and reads in time order; return what stayed alone on either side."""
    waiting: dict[tuple[str, int], list[Reply]] = defaultdict(list)
    for reply in sorted(replies, key=lambda r: r.at_s, reverse=True):
        waiting[reply.register, reply.count].append(reply)
    lonely_reads, lonely_replies = [], []
    for read in sorted(reads, key=lambda r: r.read_at_s):
        stack = waiting[read.register, read.count]
        while stack and stack[-1].at_s < read.read_at_s - tolerance_s:
            lonely_replies.append(stack.pop())
        if stack and stack[-1].at_s <= read.read_at_s + tolerance_s:
            stack.pop()
        else:
            lonely_reads.append(read)
    return [*lonely_replies, *(reply for stack in waiting.values() for reply in stack)], lonely_reads
