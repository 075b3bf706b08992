"""Leaks that a collector has found: told within a minute to everybody at that meter who manages alerts, and once over.

A case is told to the account that lives there while it is open; whoever moves in while it still runs is told of it from
their own first moment on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db.models import Max, Q

from portal.alerts.choices import choices_of
from portal.alerts.kinds import LATE, Kind
from portal.alerts.models import Alert, Watermark
from portal.alerts.telling import Found, end, keep, tell_who_waits
from portal.customers.models import Occupancy
from portal.metering.leak_evidence import began_at, whole_number
from portal.metering.models import LeakCase, RegisterState

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from datetime import datetime

_MARK = "leak cases"


def look(now: datetime) -> list[Alert]:
    """Open alerts for leak cases that are new or still run, and end those of cases that cleared.

    Cases of two ingest workers may commit out of order, and a meter may be claimed after its leak: whatever cleared
    so lately that it would still be sent is looked at each time, however far the mark has come.
    """
    seen, _ = Watermark.objects.get_or_create(name=_MARK)
    cases = list(
        LeakCase.objects.filter(
            Q(cleared_at__isnull=True) | Q(cleared_at__gte=now - LATE) | Q(pk__gt=seen.value),
            installation__isnull=False,
        )
        .select_related("installation")
        .order_by("pk")
    )
    alerts = keep(list(_found(_untold(cases, now), now)), now)
    Watermark.objects.filter(pk=seen.pk).update(value=max([seen.value, *(case.pk for case in cases)]))
    _end_cleared(now)
    _tell_what_was_late(now)
    return alerts


def _untold(cases: list[LeakCase], now: datetime) -> list[tuple[LeakCase, Occupancy]]:
    """Return the cases with the occupancy in whose time they ran last, but for those that have an alert there."""
    points = {case.installation.service_point_id for case in cases if case.installation is not None}
    lived: dict[int, list[Occupancy]] = {}
    for row in Occupancy.objects.filter(service_point__in=points).select_related("account").order_by("start"):
        lived.setdefault(row.service_point_id, []).append(row)
    told = {
        (about, account)
        for about, account in Alert.objects.filter(
            kind=Kind.LEAK, about__in=[case.public_id for case in cases]
        ).values_list("about", "account")
    }
    found = []
    for case in cases:
        assert case.installation is not None
        for row in lived.get(case.installation.service_point_id, ()):
            ran = row.start <= now and (case.cleared_at is None or row.start < case.cleared_at)
            lives = row.end is None or now < row.end
            if ran and lives and (case.public_id, row.account_id) not in told:
                found.append((case, row))
    return found


def _found(cases: list[tuple[LeakCase, Occupancy]], now: datetime) -> Iterator[Found]:
    choices = choices_of({row.account_id for _, row in cases})
    heard = _heard([case for case, _ in cases])
    for case, row in cases:
        there = choices.listening_before(row.account_id, case.cleared_at or now)
        if case.opened_at > now or not there:
            continue
        happened = max(case.opened_at, row.start)
        yield Found(
            key=f"leak:{case.public_id}:{row.account.public_id}",
            kind=Kind.LEAK,
            account=row.account_id,
            service_point=row.service_point_id,
            since=max(began_at(case), row.start),
            happened_at=happened,
            evidence=_evidence(case, whole=began_at(case) >= row.start),
            who=[one for one in choices.of(Kind.LEAK, row.account_id, row.service_point_id) if one.user.pk in there],
            about=case.public_id,
            fresh=case.cleared_at or max(happened, heard.get(case.meter_id, happened)),
        )


def _heard(cases: Collection[LeakCase]) -> dict[int, datetime]:
    """Return when the meters of cases were heard of last, by meter."""
    states = RegisterState.objects.filter(register__meter__in={case.meter_id for case in cases})
    return dict(states.values_list("register__meter").annotate(at=Max("last_read_at")))


def _tell_what_was_late(now: datetime) -> None:
    """Tell of leaks that were found when their meter had long been silent, once it is heard and they still run.

    A collector that was away brings the leak first and the reads after it: between the two, nobody can tell whether the
    leak goes on.
    """
    rows = Alert.objects.filter(kind=Kind.LEAK, ended_at__isnull=True, late=True)
    late = list(rows.select_related("account", "service_point__premise").prefetch_related("recipients"))
    cases = LeakCase.objects.filter(public_id__in={alert.about for alert in late}, cleared_at__isnull=True)
    heard = _heard(cases)
    running = {case.public_id for case in cases if now - heard.get(case.meter_id, case.opened_at) <= LATE}
    choices = choices_of({alert.account_id for alert in late if alert.about in running})
    for alert in late:
        if alert.about in running and rows.filter(pk=alert.pk).update(late=False):
            tell_who_waits(alert, choices, now)


def _evidence(case: LeakCase, *, whole: bool) -> dict[str, Any]:
    """Return the rule and figures of a case; the litres so far only when all of them are of the account's own time."""
    found: dict[str, Any] = {"rule": case.rule}
    if rate := whole_number(case.evidence, "litres_per_h"):
        found["litres_per_h"] = rate
    if whole and (so_far := whole_number(case.evidence, "litres")):
        found["litres"] = so_far
    return found


def _end_cleared(now: datetime) -> None:
    open_alerts = Alert.objects.filter(kind=Kind.LEAK, ended_at__isnull=True).select_related(
        "account", "service_point__premise"
    )
    by_case = {alert.about: alert for alert in open_alerts}
    cleared = LeakCase.objects.filter(public_id__in=by_case, cleared_at__isnull=False)
    for case in cleared:
        for alert in [one for one in open_alerts if one.about == case.public_id]:
            assert case.cleared_at is not None
            if "litres" in alert.evidence and (total := _at_end(case)):
                alert.evidence["litres_at_end"] = total
                alert.save(update_fields=["evidence"])
            end([alert], case.cleared_at, now)


def _at_end(case: LeakCase) -> int:
    closed = case.evidence.get("cleared")
    litres = closed.get("litres") if isinstance(closed, dict) else None
    return litres if isinstance(litres, int) else 0
