"""The leak banner: what was noticed, since when, how much, why we think so, what to check."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from django.utils.translation import gettext as _

from domain.units import Unit, as_decimal
from portal.alerts.texts import leak_rule
from portal.core.prepared import Prepared
from portal.metering.leak_evidence import began_at, whole_number
from portal.metering.models import LeakCase
from portal.resident.wording import UNITS, duration_text, moment_text, number

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from zoneinfo import ZoneInfo


@dataclass(frozen=True, slots=True)
class LeakBanner:
    """The text of the banner of one open case; all of it is ready to be read."""

    case: str
    since: str
    lasted: str
    rate: str
    so_far: str
    rule: str
    urgent: bool


def open_leak(begun: Mapping[int, datetime], *, now: datetime, zone: ZoneInfo, unit: Unit) -> LeakBanner | None:
    """Return the banner of the oldest open leak at some service points.

    begun  by the service point's row id when the viewer's time there began: what was before is not shown.
    """
    case = next(iter(OLDEST(tuple(sorted(begun)))), None)
    if case is None or case.installation is None:
        return None
    since = max(began_at(case), begun[case.installation.service_point_id])
    seconds = max((now - since).total_seconds(), 0.0)
    litres_per_h = whole_number(case.evidence, "litres_per_h")
    rate = so_far = ""
    if litres_per_h:
        rate = _volume(Fraction(litres_per_h), unit)
        so_far = _volume(litres_per_h * Fraction(int(seconds), 3600), unit)
    return LeakBanner(
        case=case.public_id,
        since=moment_text(since, zone),
        lasted=duration_text(seconds),
        rate=rate,
        so_far=so_far,
        rule=leak_rule(case.rule),
        urgent=case.rule == "burst",
    )


OLDEST: Prepared[LeakCase] = Prepared(
    lambda points: (
        LeakCase.objects.filter(
            installation__service_point__in=points, installation__end__isnull=True, cleared_at__isnull=True
        )
        .select_related("installation")
        .order_by("opened_at", "pk")[:1]
    )
)


def _volume(litres: Fraction, unit: Unit) -> str:
    """Return an estimate in words: no more than about three figures, so that it does not look exact."""
    value = litres / unit.litres
    places = 0 if value >= 10 else 1 if value >= 1 else 3
    return _("%(amount)s %(unit)s") % {
        "amount": number(as_decimal(value, places)),
        "unit": UNITS[unit].name,
    }
