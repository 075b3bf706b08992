"""The readings of the meter at both ends, as its dial shows them, and what became of the rest below one unit."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from django.utils.translation import gettext as _

from domain.reading import ReadQuality
from domain.units import Unit, count_value, counts_to
from portal.billing.documents import figures

if TYPE_CHECKING:
    from portal.billing.documents.facts import BillFacts, DialFacts

_CARRIED_PLACES = 3
_CONVERTED_PLACES = 1


@dataclass(frozen=True, slots=True)
class DialRow:
    """One register's time in the period; converted: the difference in the billed unit, when that is another one."""

    meter: str
    first: str
    first_on: str
    last: str
    last_on: str
    difference: str
    converted: str
    remarks: tuple[str, ...]


def dial_rows(facts: BillFacts) -> tuple[DialRow, ...]:
    """Return a row for every register, joined over parts of the period in which it simply went on."""
    return tuple(_row(dial, facts) for dial in joined(facts))


def joined(facts: BillFacts) -> list[DialFacts]:
    """Return the dials, those of parts that follow each other without a break as one."""
    from dataclasses import replace

    found: list[DialFacts] = []
    for dial in facts.dials:
        n = next((n for n, before in enumerate(found) if _goes_on(before, dial)), None)
        if n is None:
            found.append(dial)
            continue
        found[n] = replace(
            found[n],
            end=dial.end,
            last_count=dial.last_count,
            last_shown=dial.last_shown,
            last_quality=dial.last_quality,
            last_interpolated=dial.last_interpolated,
        )
    return found


def _goes_on(before: DialFacts, dial: DialFacts) -> bool:
    same = (before.meter_id, before.register_id, before.end) == (dial.meter_id, dial.register_id, dial.start)
    return same and before.last_count == dial.first_count


def _row(dial: DialFacts, facts: BillFacts) -> DialRow:
    several = len({item.register_id for item in facts.dials if item.meter_id == dial.meter_id}) > 1
    symbol = figures.symbol(dial.unit)
    billed = facts.segments[dial.segment].unit
    counts = dial.last_count - dial.first_count
    converted = ""
    if billed != dial.unit:
        volume = counts_to(counts, unit=Unit(dial.unit), scale=dial.scale, to=Unit(billed))
        converted = f"{figures.amount(volume, _CONVERTED_PLACES)} {figures.symbol(billed)}"
    return DialRow(
        meter=f"{dial.meter_id} ({dial.register_id})" if several else dial.meter_id,
        first=f"{_shown(dial, dial.first_shown)} {symbol}",
        first_on=figures.short_day(dial.start),
        last=f"{_shown(dial, dial.last_shown)} {symbol}",
        last_on=figures.short_day(dial.end),
        difference=f"{figures.amount(counts * Fraction(10) ** dial.scale, max(0, -dial.scale))} {symbol}",
        converted=converted,
        remarks=_remarks(dial),
    )


def _shown(dial: DialFacts, count: int) -> str:
    return figures.dial(count, unit=dial.unit, scale=dial.scale, modulus=dial.modulus)


def _remarks(dial: DialFacts) -> tuple[str, ...]:
    found = []
    first, last = _quality(dial.first_quality), _quality(dial.last_quality)
    if first:
        found.append(_("first reading %(how)s") % {"how": first})
    if last:
        found.append(_("last reading %(how)s") % {"how": last})
    if dial.last_count > dial.first_count and dial.last_shown < dial.first_shown:
        found.append(_("the dial passed zero"))
    return tuple(found)


def _quality(quality: int) -> str:
    names = {
        ReadQuality.ESTIMATED: _("estimated"),
        ReadQuality.EDITED: _("corrected by the utility"),
        ReadQuality.SUSPECT: _("doubtful"),
        ReadQuality.MISSING: _("missing"),
    }
    return names.get(ReadQuality(quality), "")


def dial_notes(facts: BillFacts) -> tuple[str, ...]:
    """Return how readings become billed units: what is shared out by time, what is carried on."""
    notes = []
    if any(dial.first_interpolated or dial.last_interpolated for dial in facts.dials):
        notes.append(
            _(
                "Readings are for midnight at the start of the day. Between two readings of the meter the count is "
                "shared out by time."
            )
        )
    notes += _carried(facts)
    return tuple(notes)


def _carried(facts: BillFacts) -> list[str]:
    """Return the sentences on what lies below one billed unit: one for each place with such a rest."""
    last = {(segment.address, segment.place): segment for segment in facts.segments}
    found = []
    for segment in last.values():
        litres = Fraction(segment.remainder)
        one = count_value(Unit(segment.unit), segment.unit_scale)
        rest = litres / Unit(segment.unit).litres
        if not 0 < litres < one or figures.amount(rest, _CARRIED_PLACES) == figures.amount(0, _CARRIED_PLACES):
            continue
        worth = Fraction(10) ** segment.unit_scale
        values = {
            "unit": f"{figures.amount(worth)} {figures.symbol(segment.unit)}",
            "rest": f"{figures.amount(rest, _CARRIED_PLACES)} {figures.symbol(segment.unit)}",
        }
        found.append(_("Only whole units of %(unit)s are billed: %(rest)s are carried into your next bill.") % values)
    return found
