"""Made-up pasts of a home's meters: drawn as a few traits, told as reads, and known to whoever made them up.

`counted` and `volume` say what the dials counted from the made-up past alone, by the rule of docs/algorithms/usage.md
(share by time, rounded down) and not by the code that is tested.

HEADWATER_EXAMPLES=3000 tries so many pasts, others at each run; without it the same few are tried again.
"""

from __future__ import annotations

import contextlib
import os
import random
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from operator import attrgetter
from typing import TYPE_CHECKING, Literal
from zoneinfo import ZoneInfo

from django.db import transaction
from hypothesis import HealthCheck, Phase, note, settings
from hypothesis import strategies as st

from domain.clock import ManualClock
from domain.ids import CollectorId, MeterId, RegisterId
from domain.reading import ReadQuality, Register, RegisterRead
from domain.units import Unit
from portal.customers import services as customers
from portal.customers.models import Account
from portal.ingest.apply import apply_batch
from portal.metering import services as metering
from portal.metering.folding import fold_closed_days
from portal.metering.models import MeterRegister, OfficeRead, ReadVerdict
from portal.metering.reads import to_us
from portal.metering.validation import office
from tests.portal.building import Box, clock_at, enrolled, person

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pytest

    from portal.core.models import User
    from portal.customers.models import ServicePoint
    from portal.metering.models import Installation

CHICAGO = ZoneInfo("America/Chicago")
PLACES = {Unit.LITRE: 3, Unit.CUBIC_METRE: 6, Unit.GALLON: 3, Unit.CUBIC_FOOT: 4, Unit.CCF: 6, Unit.KILOGALLON: 6}
"""Decimals of a volume in each unit, as docs/algorithms/usage.md has them."""
LITRES = {
    Unit.LITRE: Fraction(1), Unit.CUBIC_METRE: Fraction(1000), Unit.GALLON: Fraction(3785411784, 10**9),
    Unit.KILOGALLON: Fraction(3785411784, 10**6), Unit.CUBIC_FOOT: Fraction(28316846592, 10**9),
    Unit.CCF: Fraction(28316846592, 10**7),
}  # fmt: skip
KINDS = (
    (Unit.GALLON, 0), (Unit.GALLON, -1), (Unit.GALLON, 1), (Unit.LITRE, 0), (Unit.CUBIC_METRE, -3),
    (Unit.CUBIC_METRE, -2), (Unit.CUBIC_FOOT, 0), (Unit.CUBIC_FOOT, -1), (Unit.CUBIC_FOOT, -2), (Unit.CCF, -2),
    (Unit.CCF, -4), (Unit.KILOGALLON, -3), (Unit.KILOGALLON, -2),
)  # fmt: skip
MOST_L = 900
"""Litres of one step: from a thousand on, the screening looks at it."""
_EXAMPLES = os.environ.get("HEADWATER_EXAMPLES")


def some(examples: int) -> settings:
    """Return how many pasts a property is tried on: a few that stay the same, or HEADWATER_EXAMPLES others."""
    return settings(
        max_examples=int(_EXAMPLES or examples),
        derandomize=_EXAMPLES is None,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],  # the traits are few; to make them fewer takes minutes
        suppress_health_check=list(HealthCheck),
    )


_EVERY_MIN = {2: (15, 60, 180), 3: (15, 60, 180), 5: (60, 180), 12: (180, 360), 40: (360, 720), 41: (1440,)}
"""How often a meter is read, by the days of its past; the last: of longer ones."""
Swap = Literal["none", "written", "unwritten", "silent"]
Change = Literal["read", "estimate", "edit", "exclude", "exclude and back", "suspect", "withdrawn"]


@dataclass(frozen=True)
class MeterPast:
    """What became of one place's meters.

    swap     another meter is hung up, with or without counts written down; `silent`: another dial answers and nobody
             has told the office: it is not counted.
    changes  what the office did to the reads; parts: in how many deliveries the reads came, shuffled or in order.
    """

    kind: tuple[Unit, int] = (Unit.GALLON, 0)
    modulus: int | None = None
    near_turn: bool = False
    every_min: int = 60
    holes: int = 0
    doubts: bool = False
    back: bool = False
    swap: Swap = "none"
    changes: tuple[Change, ...] = ()
    parts: int = 1
    shuffled: bool = False
    folded: bool = True
    seed: int = 0


@dataclass(frozen=True)
class Past:
    """A home's past: from a day on, some days long; its first meter is the household's, a second one the garden's."""

    first: date
    days: int
    meters: tuple[MeterPast, ...]

    @property
    def start(self) -> datetime:
        """The midnight at which somebody moved in."""
        return midnight(self.first)

    @property
    def end(self) -> datetime:
        """The midnight after the last day."""
        return midnight(self.first + timedelta(days=self.days))


@st.composite
def _meters(draw: st.DrawFn, *, days: int) -> MeterPast:
    modulus = draw(st.sampled_from((None, 10**4, 10**5, 10**6, 10**8)))
    swaps: tuple[Swap, ...] = ("none", "written", "unwritten")
    silent = modulus is None or modulus >= 10**8
    swap = draw(st.sampled_from((*swaps, "silent") if silent else swaps))
    changes: tuple[Change, ...] = ("read", "estimate", "edit", "exclude", "exclude and back", "suspect", "withdrawn")
    return MeterPast(
        kind=draw(st.sampled_from(KINDS)),
        modulus=modulus,
        near_turn=draw(st.booleans()),
        every_min=draw(st.sampled_from(_EVERY_MIN[min(days, 41)])),
        holes=draw(st.integers(0, 3)),
        doubts=draw(st.booleans()),
        back=draw(st.booleans()),
        swap=swap,
        changes=tuple(draw(st.lists(st.sampled_from(changes), max_size=3))),
        parts=draw(st.integers(1, 4)),
        shuffled=swap != "silent" and draw(st.booleans()),
        folded=swap == "silent" or draw(st.booleans()),
        seed=draw(st.integers(0, 2**16)),
    )


@st.composite
def pasts(draw: st.DrawFn, *, lengths: Sequence[int] = (2, 3, 5, 12, 40)) -> Past:
    """Draw a past of one or two meters, so many days long, around a day on which clocks change or a year ends."""
    days = draw(st.sampled_from(lengths))
    changed = draw(st.sampled_from((date(2026, 3, 8), date(2026, 11, 1), date(2026, 1, 31), date(2025, 12, 31))))
    first = changed - timedelta(days=draw(st.integers(0, min(days, 40) - 1)))
    return Past(first, days, tuple(draw(st.lists(_meters(days=days), min_size=1, max_size=2))))


@dataclass(frozen=True, slots=True)
class Point:
    """What a dial stood at at a moment, counted on through every turn of it."""

    at: datetime
    count: int
    quality: ReadQuality


@dataclass
class Dial:
    """One meter while it hung at a place. points: what counts of it, in time order."""

    register: Register
    start: datetime
    end: datetime | None
    points: list[Point] = field(default_factory=list)
    first_count: int | None = None
    last_count: int | None = None

    @property
    def known(self) -> tuple[datetime, datetime] | None:
        """From when to when it is known what the dial showed."""
        return (self.points[0].at, self.points[-1].at) if len(self.points) > 1 else None

    def at(self, moment: datetime) -> int:
        """Return the count at a moment of the known time."""
        return self._around(moment)[0]

    def _around(self, moment: datetime) -> tuple[int, tuple[ReadQuality, ...]]:
        after = bisect_left(self.points, moment, key=_at)
        right = self.points[after]
        if right.at == moment:
            return right.count, (right.quality,)
        left = self.points[after - 1]
        share = Fraction(_us(moment - left.at), _us(right.at - left.at))
        exact = left.count + (right.count - left.count) * share
        return exact.numerator // exact.denominator, (left.quality, right.quality)

    def volume(self, start: datetime, end: datetime, unit: Unit) -> Decimal | None:
        """Return what it counted in a stretch as pages show it: both readings rounded, then one minus the other."""
        if (found := self.inside(start, end)) is None:
            return None
        low, high = found
        return self._reading(self.at(high), unit) - self._reading(self.at(low), unit)

    def counted(self, start: datetime, end: datetime) -> int | None:
        """Return what it counted in a stretch, exact."""
        found = self.inside(start, end)
        return None if found is None else self.at(found[1]) - self.at(found[0])

    def qualities(self, start: datetime, end: datetime) -> set[ReadQuality]:
        """Return the qualities of the reads on which both ends of a stretch rest."""
        found = self.inside(start, end)
        return set() if found is None else {q for moment in found for q in self._around(moment)[1]}

    def read_at(self, moment: datetime) -> bool:
        """Tell whether the dial was read at this very moment."""
        after = bisect_left(self.points, moment, key=_at)
        return after < len(self.points) and self.points[after].at == moment

    def inside(self, start: datetime, end: datetime) -> tuple[datetime, datetime] | None:
        """Return the known part of a stretch."""
        if self.known is None:
            return None
        low, high = max(start, self.known[0]), min(end, self.known[1])
        return (low, high) if low < high else None

    def _reading(self, count: int, unit: Unit) -> Decimal:
        turns, shown = divmod(count, self.register.modulus) if self.register.modulus else (0, count)
        whole = self._rounded(self.register.modulus, unit) if self.register.modulus else Decimal(0)
        return self._rounded(shown, unit) + turns * whole

    def _rounded(self, count: int, unit: Unit) -> Decimal:
        worth = count * LITRES[self.register.unit] * Fraction(10) ** self.register.scale / LITRES[unit]
        sign = -1 if worth < 0 else 1
        fine = Decimal(abs(worth).numerator * 10**12 // abs(worth).denominator).scaleb(-12)
        return sign * fine.quantize(Decimal(1).scaleb(-PLACES[unit]), rounding=ROUND_HALF_UP)


@dataclass
class Place:
    """One service point, and what hung there."""

    point: ServicePoint
    dials: list[Dial]

    def volume(self, start: datetime, end: datetime, unit: Unit) -> Decimal | None:
        """Return what was counted here in a stretch; None when nothing is known of it."""
        return added(dial.volume(start, end, unit) for dial in self.dials)

    def whole_gallons(self, start: datetime, end: datetime) -> tuple[int, bool]:
        """Return the whole gallons that the dials turned, the first one's own fraction among them, and whether sure."""
        gallon, carried, litres = LITRES[Unit.GALLON], Fraction(-1), Fraction(0)
        for dial in self.dials:
            if dial.end is not None and dial.end <= start:
                continue
            found = dial.inside(start, end)
            if found is None or (found[0] > start and dial.start < start):
                return 0, False  # nobody knows where it starts
            worth = LITRES[dial.register.unit] * Fraction(10) ** dial.register.scale
            low, high = (dial.at(moment) for moment in found)
            litres += worth * (high - low)
            if carried < 0:
                carried = worth * (low % (dial.register.modulus or 10**18)) % gallon
        return int((max(carried, Fraction(0)) + litres) // gallon), carried >= 0


@dataclass
class Street:
    """A past as it stands in the database, and as it is known; the portal's clock stands at `now`."""

    past: Past
    user: User
    account: Account
    places: list[Place]
    now: datetime


Lived = Callable[[Past], Street]


def added(volumes: Iterator[Decimal | None]) -> Decimal | None:
    """Return the sum of what is known; None when nothing is."""
    known = [volume for volume in volumes if volume is not None]
    return sum(known, Decimal(0)) if known else None


@contextlib.contextmanager
def undone() -> Iterator[None]:
    """Take back what is written in the block: the next example starts where this one did."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def _street(past: Past, user: User, box: Box, now: datetime) -> Street:
    """Write a past down: meters hung up and taken off, reads in signed batches as they came, what the office did."""
    account = Account.objects.create(number="1000001")
    customers.grant_access(account, user, at=past.start)
    places = []
    for number, meter in enumerate(past.meters):
        point = customers.ensure_premise("12 Elm Street", label=("water", "irrigation")[number])
        customers.move_in(account, point, past.start)
        places.append(Place(point, _hang(meter, point, past, box, number)))
    return Street(past, user, account, places, now)


def writing_down(monkeypatch: pytest.MonkeyPatch) -> Lived:
    """Return what writes pasts of Ana's home down; the portal's clock stands half an hour after the last one's end."""
    clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    monkeypatch.setattr("portal.core.clock.clock", lambda: clock)
    ana, box = person("ana@example.org"), enrolled("hw-histories-1")

    def lived(past: Past) -> Street:
        note(repr(past))
        now = past.end + timedelta(minutes=30)
        clock.step((now - clock.now()).total_seconds())
        return _street(past, ana, Box(CollectorId(box.name), box.key), now)  # a collector that has sent nothing yet

    return lived


def _hang(meter: MeterPast, point: ServicePoint, past: Past, box: Box, number: int) -> list[Dial]:
    rng = random.Random(meter.seed)
    changed = past.start + (past.end - past.start) * rng.randrange(10, 90) / 100
    swapped = meter.swap in ("written", "unwritten")
    old = Dial(_register(f"OLD-{number}", meter.kind, meter.modulus), past.start, changed if swapped else None)
    reads = _reads(rng, meter, old.register, past.start, changed if swapped else past.end)
    if meter.swap == "silent":
        reads = _silently(reads, old.register, changed)
    dials, registers = [old], {old.register.meter_id: reads}
    row = metering.claim_register(old.register, at=past.start)
    hung = metering.install_meter(row.meter, point, past.start)
    if swapped:
        again = changed + timedelta(minutes=rng.choice((0, 0, 20, 300)))
        other = rng.choice(KINDS)
        new = Dial(_register(f"NEW-{number}", other, rng.choice((None, 10**5, 10**8))), again, None)
        later = _reads(rng, meter, new.register, again, past.end)
        _swap(meter, rng, hung, row, (old, new), (reads, later))
        # Hung up elsewhere it counts on: nothing of that belongs here.
        elsewhere = [_Read(changed + timedelta(hours=n), reads[-1].count + 7 * n) for n in (1, 2, 3)] if reads else []
        registers = {old.register.meter_id: [*reads, *elsewhere], new.register.meter_id: later}
        dials.append(new)
    _deliver(rng, meter, dials, registers, past, box)
    for dial, of_dial in zip(dials, (reads, registers.get(dials[-1].register.meter_id, [])), strict=False):
        _tell(rng, meter, dial, [one for one in of_dial if not one.other], changes=dial is dials[0])
    return dials


@dataclass(frozen=True)
class _Read:
    at: datetime
    count: int
    quality: ReadQuality = ReadQuality.MEASURED
    other: bool = False
    """Of another dial, that answered in the meter's name."""


def _register(name: str, kind: tuple[Unit, int], modulus: int | None) -> Register:
    return Register(MeterId(name), RegisterId("total"), kind[0], kind[1], modulus)


def _reads(rng: random.Random, meter: MeterPast, register: Register, start: datetime, end: datetime) -> list[_Read]:
    """Reads every so often, never quite on the hour, with holes; no step is more than a tenth of the dial's turn."""
    most = _most(register)
    count = rng.randrange(min(register.modulus or 10**6, 10**6))
    if meter.near_turn and register.modulus:
        count = register.modulus - rng.randrange(1, 3 * most + 2)
    holes = sorted(rng.sample(range(3, 60), meter.holes))
    at, result = start + timedelta(seconds=rng.choice((0, rng.randrange(9000)))), list[_Read]()
    while at < end:
        quality = ReadQuality.MEASURED
        if meter.doubts:
            doubts = (ReadQuality.MEASURED, ReadQuality.ESTIMATED, ReadQuality.SUSPECT, ReadQuality.MISSING)
            quality = rng.choices(doubts, (80, 9, 6, 5))[0]
        result.append(_Read(at, count, quality))
        at += timedelta(minutes=meter.every_min) + timedelta(microseconds=rng.choice((0, rng.randrange(60_000_000))))
        if len(result) in holes:
            at += timedelta(hours=rng.randrange(1, 60))
        step = rng.choice((0, 0, 1, most // 50, most // 9, most))
        if meter.back and rng.random() < 0.05:
            step = -min(count, rng.choice((1, 2, most // 20)))
        count += step
    return result


def _most(register: Register) -> int:
    """Return the most counts of one step: a few hundred litres, and a tenth of a turn."""
    most = int(MOST_L / (LITRES[register.unit] * Fraction(10) ** register.scale))
    return max(1, min(most, (register.modulus or 10**9) // 10))


def _silently(reads: list[_Read], register: Register, changed: datetime) -> list[_Read]:
    """Let another dial, far below, answer from a moment on."""
    lower = int(500_000 / (LITRES[register.unit] * Fraction(10) ** register.scale))
    up = [_Read(one.at, one.count + 2 * lower, one.quality) for one in reads if one.at < changed]
    return [*up, *(_Read(one.at, one.count, one.quality, other=True) for one in reads if one.at >= changed)]


def _swap(
    meter: MeterPast,
    rng: random.Random,
    hung: Installation,
    row: MeterRegister,
    dials: tuple[Dial, Dial],
    reads: tuple[list[_Read], list[_Read]],
) -> None:
    old, new = dials
    written = meter.swap == "written" and all(reads)
    if written:
        old.last_count = reads[0][-1].count + rng.choice((0, 1))
        new.first_count = max(0, reads[1][0].count - rng.choice((0, 1)))
    assert old.end is not None
    last = None if old.last_count is None else old.last_count % (old.register.modulus or 10**18)
    first = None if new.first_count is None else new.first_count % (new.register.modulus or 10**18)
    metering.remove_meter(hung, old.end, register=row if written else None, last_count=last)
    fresh_row = metering.claim_register(new.register, at=new.start)
    metering.install_meter(
        fresh_row.meter, hung.service_point, new.start, register=fresh_row if written else None, first_count=first
    )


def _deliver(
    rng: random.Random,
    meter: MeterPast,
    dials: Sequence[Dial],
    registers: dict[MeterId, list[_Read]],
    past: Past,
    box: Box,
) -> None:
    """Let the reads arrive: in some parts, in any order, days folded in between or not."""
    of = {dial.register.meter_id: dial.register for dial in dials}
    sent = [
        RegisterRead(of[name], one.count % (of[name].modulus or 10**18), one.at, clock_at(one.at), one.quality)
        for name, reads in registers.items()
        for one in reads
    ]
    sent.sort(key=lambda one: one.read_at)
    size = max(1, -(-len(sent) // meter.parts))
    parts = [sent[start : start + size] for start in range(0, len(sent), size)]
    if meter.shuffled:
        rng.shuffle(parts)
    received = past.end
    for part in parts:
        if meter.shuffled:
            rng.shuffle(part)
        answer = apply_batch(box.sealed(part), box.name, received)
        assert answer is not None
        assert answer.committed
        if meter.folded:
            fold_closed_days(past.end + timedelta(days=rng.choice((-1, 0, 3))))
    if meter.folded:
        fold_closed_days(past.end + timedelta(days=3))


def _tell(rng: random.Random, meter: MeterPast, dial: Dial, reads: list[_Read], *, changes: bool) -> None:
    """Say what counts of a dial's reads, and let the office change some of them."""
    inside = [one for one in reads if dial.start <= one.at and (dial.end is None or one.at <= dial.end)]
    told = _Told({one.at: (one.count, one.quality) for one in inside if one.quality is not ReadQuality.MISSING})
    for change in meter.changes if changes and len(told.stored) > 6 else ():
        _change(rng, change, dial, told)
    points = told.points()
    dial.points = [Point(at, *points[at]) for at in sorted(points)]
    if dial.first_count is not None and dial.start not in points:
        dial.points.insert(0, Point(dial.start, dial.first_count, ReadQuality.MEASURED))
    if dial.last_count is not None and dial.end is not None and dial.end not in points:
        dial.points.append(Point(dial.end, dial.last_count, ReadQuality.MEASURED))


_Points = dict[datetime, tuple[int, ReadQuality]]


@dataclass
class _Told:
    """What collectors and the office said of one dial. verdicts: from, to (both inclusive), quality; None keeps out."""

    stored: _Points
    by_hand: _Points = field(default_factory=dict)
    verdicts: list[tuple[datetime, datetime, ReadQuality | None]] = field(default_factory=list)

    def points(self) -> _Points:
        """Return what counts: the newest verdict on a stored read holds, and an office read comes before it."""
        result: _Points = {}
        for at, (count, own) in self.stored.items():
            quality: ReadQuality | None = own
            for low, high, verdict in self.verdicts:
                if low <= at <= high:
                    quality = verdict
            if quality is not None:
                result[at] = count, quality
        return result | self.by_hand


def _change(rng: random.Random, change: Change, dial: Dial, told: _Told) -> None:
    """Let the office do something between two reads, or to one."""
    row = MeterRegister.objects.get(meter__meter_id=dial.register.meter_id)
    turn = dial.register.modulus or 10**18
    moments = sorted(told.stored)
    place = rng.randrange(1, len(moments) - 2)
    at, following = moments[place], moments[place + 1]
    count = told.stored[at][0]
    if change in ("read", "estimate", "withdrawn"):
        between = at + (following - at) * rng.randrange(1, 99) / 100
        more = rng.randrange(0, max(1, told.stored[following][0] - count + 1))
        quality = ReadQuality.ESTIMATED if change == "estimate" else ReadQuality.MEASURED
        if between in told.stored or office.version_in_force(row, between) is not None:
            return
        entered = office.enter_read(
            row, between, (count + more) % turn, source=OfficeRead.Source.MANUAL, quality=quality, may_fall=True
        )
        if change == "withdrawn":
            office.withdraw(entered, reason="read from the neighbour's")
        elif change == "read":  # an estimate is overtaken by the actual read behind it
            told.by_hand[between] = count + more, quality
    elif change == "edit":
        if at not in told.by_hand:
            changed = max(0, count + rng.choice((-1, 1, 5)))
            office.edit_stored(row, to_us(at), changed % turn, reason="photo of the dial")
            told.verdicts.append((at, at, None))
            told.by_hand[at] = changed, ReadQuality.EDITED
    else:
        last = moments[min(place + rng.randrange(3), len(moments) - 2)]
        verdict = ReadVerdict.Verdict.SUSPECT if change == "suspect" else ReadVerdict.Verdict.EXCLUDED
        decided = office.decide(row, to_us(at), to_us(last), verdict, reason="looked at")
        if change == "exclude and back":
            office.take_back(decided, reason="looked at again")
        else:
            told.verdicts.append((at, last, ReadQuality.SUSPECT if change == "suspect" else None))


def midnight(day: date) -> datetime:
    """Return the moment at which a day begins in Chicago."""
    return datetime(day.year, day.month, day.day, tzinfo=CHICAGO).astimezone(UTC)


_at = attrgetter("at")


def _us(span: timedelta) -> int:
    return span // timedelta(microseconds=1)
