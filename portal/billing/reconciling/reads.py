"""Looks the reads behind bills up once more, where they are stored, and the signed batches that brought them."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from django.db.models import Q

from domain.reading import ReadQuality
from domain.units import rollover_difference
from portal.metering.models import Installation, MeterRegister, OfficeRead, RecentRead, RegisterDay, StoredBatch
from portal.metering.packed import DAY_US, KeptRead, unpack_day
from portal.metering.reads import from_us, to_us

if TYPE_CHECKING:
    from collections.abc import Iterable

    from portal.billing.reconciling.facts import Dial, End

_DAYS_AT_ONCE = 60
_COLUMNS = ("read_us", "epoch", "append_seq", "raw_count", "quality", "reason", "flags")


@dataclass(slots=True)
class Known:
    """What is stored about the moments that bills rest on.

    reads    (register, read_us): the collectors' reads, office: counts that the office wrote down, at any time.
    batches  epoch: (first, last) append_seq of stored batches near those moments.
    """

    siblings: dict[int, tuple[int, ...]] = field(default_factory=dict)
    modulus: dict[int, int | None] = field(default_factory=dict)
    reads: dict[tuple[int, int], list[KeptRead]] = field(default_factory=lambda: defaultdict(list))
    office: dict[tuple[int, int], set[int]] = field(default_factory=lambda: defaultdict(set))
    written: dict[tuple[int, int], int] = field(default_factory=dict)
    batches: dict[int, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))

    def counts(self, dial: Dial, us: int) -> set[int]:
        """Return every raw count that is stored for a counter at a moment: by a collector, by the office, at a swap."""
        found = set[int]()
        for register in self.siblings.get(dial.register, (dial.register,)):
            found |= {read.raw_count for read in self.reads.get((register, us), ())}
            found |= self.office.get((register, us), set())
        if (dial.installation, us) in self.written:
            found.add(self.written[dial.installation, us])
        return found

    def shown(self, dial: Dial, end: End) -> set[int]:
        """Return what the dial may have shown at one end by the stored counts; empty when a read is not there."""
        if not end.us:
            return set()
        options = [self.counts(dial, us) for us in end.us]
        if len(options) == 1:
            return options[0]
        left_us, right_us = end.us
        modulus = self.modulus.get(dial.register)
        passed, whole = to_us(end.at) - left_us, right_us - left_us
        result = set()
        for left in options[0]:
            for right in options[1]:
                count = left + rollover_difference(left, right, modulus) * passed // whole
                result.add(count if modulus is None else count % modulus)
        return result

    def without_batch(self, dial: Dial, end: End) -> list[int]:
        """Return the moments of the collectors' reads behind one end that no stored batch brought."""
        missing = []
        for us in end.us:
            registers = self.siblings.get(dial.register, (dial.register,))
            brought = [read for register in registers for read in self.reads.get((register, us), ())]
            if brought and not any(self._is_stored(read) for read in brought):
                missing.append(us)
        return missing

    def _is_stored(self, read: KeptRead) -> bool:
        return any(first <= read.append_seq <= last for first, last in self.batches.get(read.epoch, ()))


def look_up(dials: Iterable[Dial]) -> Known:
    """Return what is stored about both ends of dials; the number of queries does not grow with the dials."""
    dials, known = list(dials), Known()
    _definitions(dials, known)
    wanted: dict[int, set[int]] = defaultdict(set)
    for dial in dials:
        for end in (dial.first, dial.last):
            for register in known.siblings.get(dial.register, (dial.register,)):
                wanted[register] |= set(end.us)
    _collectors(wanted, known)
    rows = OfficeRead.objects.filter(register__in=wanted, withdrawn=False).exclude(quality=ReadQuality.ESTIMATED)
    for register, at, count in rows.values_list("register_id", "read_at", "raw_count"):
        known.office[register, to_us(at)].add(count)
    hung = Installation.objects.filter(pk__in={dial.installation for dial in dials})
    for pk, start, until, first, last in hung.values_list("pk", "start", "end", "first_count", "last_count"):
        if first is not None:
            known.written[pk, to_us(start)] = first
        if last is not None and until is not None:
            known.written[pk, to_us(until)] = last
    _batches(known)
    return known


def _definitions(dials: list[Dial], known: Known) -> None:
    """Find the definitions of each counter: rows that differ in the roll-over only, and the one that was read."""
    named = MeterRegister.objects.filter(pk__in={dial.register for dial in dials})
    rows = MeterRegister.objects.filter(meter__in=named.values("meter")).select_related("state")
    counters: dict[tuple[int, str, str, int], list[MeterRegister]] = defaultdict(list)
    for row in rows:
        counters[row.meter_id, row.register_id, row.unit, row.scale].append(row)
    for counter in counters.values():
        read = [row for row in counter if hasattr(row, "state")] or counter
        modulus = min((row.modulus for row in read if row.modulus is not None), default=None)
        for row in counter:
            known.siblings[row.pk] = tuple(other.pk for other in counter)
            known.modulus[row.pk] = modulus


def _collectors(wanted: dict[int, set[int]], known: Known) -> None:
    moments = {us for of_register in wanted.values() for us in of_register}
    days = sorted({us // DAY_US for us in moments})
    for start in range(0, len(days), _DAYS_AT_ONCE):
        some = days[start : start + _DAYS_AT_ONCE]
        rows = RegisterDay.objects.filter(register__in=wanted, day__in=some)
        for register, day, packed in rows.values_list("register", "day", "packed"):
            ours = {us for us in wanted[register] if us // DAY_US == day}
            if ours:
                for read in unpack_day(day, bytes(packed)):
                    if read.read_us in ours:
                        known.reads[register, read.read_us].append(read)
    if moments:
        recent = RecentRead.objects.filter(
            register__in=wanted, read_us__gte=min(moments), read_us__lte=max(moments)
        ).values_list("register", *_COLUMNS)
        for register, *row in recent.iterator(chunk_size=5000):
            if row[0] in wanted[register]:
                known.reads[register, row[0]].append(KeptRead(*row))


def _batches(known: Known) -> None:
    """Find the stored batches of the reads' epochs around their days."""
    reads = [read for found in known.reads.values() for read in found]
    days = sorted({read.read_us // DAY_US for read in reads})
    epochs = {read.epoch for read in reads}
    seen = set[int]()
    for start in range(0, len(days), _DAYS_AT_ONCE):
        near = Q()
        for day in days[start : start + _DAYS_AT_ONCE]:
            first, last = from_us(day * DAY_US), from_us((day + 1) * DAY_US)
            near |= Q(first_read_at__lt=last, last_read_at__gte=first)
        rows = StoredBatch.objects.filter(near, epoch__in=epochs)
        for pk, epoch, low, high in rows.values_list("pk", "epoch_id", "first_append_seq", "last_append_seq"):
            if pk not in seen and low is not None and high is not None:
                seen.add(pk)
                known.batches[epoch].append((low, high))
