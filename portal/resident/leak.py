"""The leak banner: what was noticed, since when, how much, why we think so, what to check."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import TYPE_CHECKING

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from domain.units import Unit, as_decimal
from portal.metering.models import LeakCase
from portal.resident.wording import UNITS, duration_text, moment_text, number

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from portal.customers.models import ServicePoint
    from portal.customers.services import Span

_RULES = {
    "burst": gettext_lazy(
        "For two hours water ran as fast as it does when a pipe has broken, and it never slowed down."
    ),
    "running": gettext_lazy(
        "For six hours water never stopped running, and it ran faster than this home's usual trickle at these hours."
    ),
    "base": gettext_lazy(
        "For eight hours the flow never fell below a level that this home does not usually have at these hours."
    ),
    "continuous": gettext_lazy(
        "For 24 hours there was not one hour without flow. A home without a leak has still moments, mostly at night."
    ),
}
_ANY_RULE = gettext_lazy("Water has been running without a pause for longer than is usual.")


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


def open_leak(
    service_point: ServicePoint, span: Span, *, now: datetime, zone: ZoneInfo, unit: Unit
) -> LeakBanner | None:
    """Return the banner of the oldest open leak at a service point, as far as it lies in the viewer's time there."""
    case = (
        LeakCase.objects.filter(
            installation__service_point=service_point, installation__end__isnull=True, cleared_at__isnull=True
        )
        .order_by("opened_at")
        .first()
    )
    if case is None:
        return None
    since = max(_since(case), span.start)
    seconds = max((now - since).total_seconds(), 0.0)
    litres_per_h = _whole(case.evidence, "litres_per_h")
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
        rule=str(_RULES.get(case.rule, _ANY_RULE)),
        urgent=case.rule == "burst",
    )


def _volume(litres: Fraction, unit: Unit) -> str:
    """Return an estimate in words: no more than about three figures, so that it does not look exact."""
    value = litres / unit.litres
    places = 0 if value >= 10 else 1 if value >= 1 else 3
    return _("%(amount)s %(unit)s") % {
        "amount": number(as_decimal(value, places)),
        "unit": UNITS[unit].name,
    }


def _since(case: LeakCase) -> datetime:
    """Return when the flow began that never stopped: it is older than the alarm."""
    for evidence in _levels(case.evidence):
        since = evidence.get("since")
        if isinstance(since, str):
            try:
                moment = datetime.fromisoformat(since)
            except ValueError:
                continue
            return min(moment if moment.tzinfo else moment.replace(tzinfo=UTC), case.opened_at)
        if (since_ms := evidence.get("since_ms")) and isinstance(since_ms, int):
            return min(datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=since_ms), case.opened_at)
    return case.opened_at


def _whole(evidence: object, name: str) -> int:
    return next((value for level in _levels(evidence) if isinstance(value := level.get(name), int)), 0)


def _levels(evidence: object) -> list[dict[str, object]]:
    """Return the evidence itself and what it holds under `opened`: both shapes are read."""
    if not isinstance(evidence, dict):
        return []
    inner = evidence.get("opened")
    return [evidence, *([inner] if isinstance(inner, dict) else [])]
