"""A customer's usage as staff may look at it: only with a reason, and the look is written down first."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from django.db import transaction
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import pgettext

from domain.units import Unit
from portal.access.looking import checked_reason
from portal.core.clock import now
from portal.core.errors import Refused
from portal.core.services import audit, utility_zone
from portal.metering.usage import usage
from portal.staff.listing import Cell, Listing
from portal.staff.lists import QUALITY

if TYPE_CHECKING:
    from portal.core.models import User
    from portal.customers.models import ServicePoint

DAYS_SHOWN = 31


@transaction.atomic
def look_at_usage(actor: User, service_point: ServicePoint, *, reason: str) -> Listing:
    """Return the last month of a service point by day, after writing down who looked and why.

    raises  Refused(`reason`) without a reason that somebody could check later.
    """
    reason = checked_reason(reason)
    if not actor.is_staff:
        raise Refused("not-staff", _("Only staff may look."))
    audit("usage.look", actor=actor, target=service_point, reason=reason)
    zone, moment = utility_zone(), now()
    today = moment.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0)
    series = usage(
        service_point, start=today - timedelta(days=DAYS_SHOWN - 1), end=moment, resolution="day", unit=Unit.GALLON
    )
    rows = []
    for row in reversed(series.rows):
        day = date_format(row.start.astimezone(zone), pgettext("day in a staff table", "D, Y-m-d"))
        volume = Cell(_("no data"), "warn") if row.volume is None else Cell(f"{row.volume:,f}", "number")
        counts = Cell("\N{EN DASH}" if row.counts is None else f"{row.counts:,}", "number")
        rows.append((Cell(day), volume, counts, Cell(QUALITY[row.quality]())))
    return Listing(
        service_point.premise.address,
        (_("Day"), _("Gallons"), _("Counts of the register"), _("Quality")),
        tuple(rows),
        _("There is no data for this time."),
    )
