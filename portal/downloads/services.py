"""Files of one's own usage: what may be asked for, and which file that is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from enum import Enum
from typing import TYPE_CHECKING

from django.utils.text import slugify
from django.utils.translation import gettext as _

from domain.units import Unit
from portal.billing.models import Bill
from portal.billing.visible import visible_bills
from portal.core.clock import now
from portal.core.errors import Refused
from portal.core.services import utility_zone
from portal.customers.services import Span, visible_spans
from portal.downloads import csv_file, excel, green_button
from portal.downloads.series import Every, Place, Wanted, newest_edge
from portal.metering.calendar import midnight

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from portal.core.models import User
    from portal.customers.models import ServicePoint
    from portal.customers.permissions import Viewer

LONGEST = timedelta(days=3 * 366)
"""The most time that one file covers: three years."""
LONGEST_YEARS = 3


class Form(Enum):
    """The form of a file."""

    CSV = "csv"
    EXCEL = "xlsx"
    GREEN_BUTTON = "xml"


@dataclass(frozen=True, slots=True)
class UsageFile:
    """A file that is made while it is sent."""

    name: str
    content_type: str
    pieces: Iterator[bytes]


def between_days(first: str, last: str) -> tuple[datetime, datetime]:
    """Return the start of the first and the end of the last day (ISO, both inclusive) in the utility's zone.

    raises Refused(`first`), Refused(`last`), Refused(`span`) with words for the person who typed them.
    """
    zone = utility_zone()
    from_day, to_day = _day("first", first), _day("last", last)
    if to_day < from_day:
        raise Refused("last", _("The last day lies before the first day."))
    return midnight(from_day, zone), midnight(to_day + timedelta(days=1), zone)


def _day(code: str, text: str) -> date:
    try:
        day = date.fromisoformat(text.strip())
    except ValueError:
        raise Refused(code, _("Enter a day as year, month and day, for example 2026-03-31.")) from None
    if not 2000 <= day.year <= 2199:
        raise Refused(code, _("Choose a day between the years 2000 and 2199."))
    return day


def wanted_usage(
    who: User | Viewer,
    service_points: Sequence[ServicePoint],
    *,
    start: datetime,
    end: datetime,
    every: Every,
    unit: Unit,
) -> Wanted:
    """Return what a file holds: of each service point the times that the person may see, and nothing of the future.

    raises Refused(`span`) for an empty or too long span, Refused(`nothing`) when none of it is the person's own.
    """
    if not start < end:
        raise Refused("span", _("The span is empty: it must start before it ends."))
    if end - start > LONGEST:
        raise Refused("span", _("A file covers three years at most. Choose fewer days, or make several files."))
    moment, zone = now(), utility_zone()
    end = min(end, newest_edge(moment, every, zone))
    places = tuple(
        Place(point, spans) for point in service_points if (spans := _apart(visible_spans(who, point), start, end))
    )
    if not places:
        raise Refused("nothing", _("You have no water use in these days. Choose days on which the place was yours."))
    return Wanted(places, start, end, every, unit, zone, moment)


def _apart(spans: Sequence[Span], start: datetime, end: datetime) -> tuple[Span, ...]:
    """Return the spans inside [start, end) in order, those that touch or overlap as one."""
    found: list[Span] = []
    for span in sorted(spans, key=lambda one: one.start):
        if start >= end or (inside := span.intersection(Span(start, end))) is None:
            continue
        if found and inside.start <= found[-1].end:
            found[-1] = Span(found[-1].start, max(found[-1].end, inside.end))
        else:
            found.append(inside)
    return tuple(found)


def usage_file(wanted: Wanted, form: Form, *, bills: Sequence[Bill] = ()) -> UsageFile:
    """Return the file; bills go into Green Button alone."""
    if form is Form.GREEN_BUTTON:
        content = green_button.green_button_file(wanted, bills)
        return UsageFile(_name(wanted, form), green_button.CONTENT_TYPE, content)
    if form is Form.EXCEL:
        return UsageFile(_name(wanted, form), excel.CONTENT_TYPE, excel.excel_file(wanted))
    return UsageFile(_name(wanted, form), csv_file.CONTENT_TYPE, csv_file.csv_file(wanted))


def bills_within(who: User | Viewer, wanted: Wanted) -> list[Bill]:
    """Return the bills of the file's places and time that the person may see, oldest first."""
    points = [place.service_point.pk for place in wanted.places]
    rows = visible_bills(who).filter(
        state=Bill.State.ISSUED,
        segments__agreement__service_point__in=points,
        period_start__lt=wanted.end.astimezone(wanted.zone).date(),
        period_end__gt=wanted.start.astimezone(wanted.zone).date(),
    )
    return list(rows.prefetch_related("segments__agreement", "lines").order_by("period_start", "pk"))


def _name(wanted: Wanted, form: Form) -> str:
    """Return the file's name: place, first and last day."""
    places = [slugify(csv_file.place_name(place)) or place.service_point.public_id for place in wanted.places]
    first = wanted.start.astimezone(wanted.zone).date()
    last = (wanted.end - timedelta(microseconds=1)).astimezone(wanted.zone).date()
    return (
        f"water-use-{places[0] if len(places) == 1 else 'all-places'}-{first}-{last}-{wanted.every.value}.{form.value}"
    )
