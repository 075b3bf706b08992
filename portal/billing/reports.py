"""What a bill run came to: totals by rate line, what is held and why, how it compares to the run before."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields
from datetime import date
from typing import TYPE_CHECKING, Any

from django.db.models import Count, F, Sum

from portal.billing.models import Bill, BillLine, BillRun, BillSegment
from portal.billing.periods import Period
from portal.billing.runs import counts
from portal.ledger.aging import aging

if TYPE_CHECKING:
    from django.db.models import QuerySet

_EXCEPTIONS = 200


def report(run: BillRun) -> dict[str, Any]:
    """Return the report of a run, JSON-able; `exceptions` has the first 200 bills with a finding."""
    bills = Bill.objects.filter(run=run).exclude(state=Bill.State.CANCELLED)
    before = (
        BillRun.objects.filter(cycle=run.cycle_id, period_end=run.period_start)
        .exclude(state=BillRun.State.CANCELLED)
        .first()
    )
    return {
        "run": run.public_id,
        "cycle": run.cycle.code,
        "period_start": run.period_start.isoformat(),
        "period_end": run.period_end.isoformat(),
        "state": run.state,
        **counts(run),
        **_sums(bills),
        "lines": _lines(bills),
        "findings": _findings(bills),
        "exceptions": _exceptions(bills),
        "before": None if before is None else _before(before),
        "aging": _aging(run),
    }


def _sums(bills: QuerySet[Bill]) -> dict[str, Any]:
    units = BillSegment.objects.filter(bill__in=bills).values_list("unit", "unit_scale").annotate(n=Sum("units"))
    return {
        "units": [
            {"unit": unit, "scale": scale, "units": n} for unit, scale, n in units.order_by("unit", "unit_scale")
        ],
        "estimated": bills.filter(estimated=True).count(),
    }


def _lines(bills: QuerySet[Bill]) -> list[dict[str, Any]]:
    rows = (
        BillLine.objects.filter(bill__in=bills)
        .values("service", "code", "kind", "tier", "version")
        .annotate(lines=Count("pk"), cents=Sum("amount_cents"))
        .order_by("service", "code", "kind", F("tier").asc(nulls_first=True), "version")
    )
    return [dict(row) for row in rows]


def _aging(run: BillRun) -> dict[str, int]:
    """Return what the cycle's accounts owe by age on the bills' day, in cents."""
    accounts = list(run.cycle.accounts.values_list("account", flat=True))
    total = aging(run.bill_date, accounts=accounts).total
    return {field.name: getattr(total, field.name) for field in fields(total)}


def _findings(bills: QuerySet[Bill]) -> list[dict[str, Any]]:
    """Return how many bills have which finding; those that hold first."""
    found: Counter[tuple[str, str]] = Counter()
    for findings in bills.exclude(findings=[]).values_list("findings", flat=True).iterator(chunk_size=2000):
        found.update({(one["severity"], one["code"]) for one in findings})
    return [{"severity": severity, "code": code, "bills": n} for (severity, code), n in sorted(found.items())]


def _exceptions(bills: QuerySet[Bill]) -> list[dict[str, Any]]:
    rows = bills.filter(state=Bill.State.HELD).select_related("account").order_by("account__number")[:_EXCEPTIONS]
    return [
        {
            "bill": row.public_id,
            "account": row.account.number,
            "charges_cents": row.charges_cents,
            "holds": sorted({one["code"] for one in row.findings if one["severity"] == "hold"}),
        }
        for row in rows
    ]


def _before(run: BillRun) -> dict[str, Any]:
    bills = Bill.objects.filter(run=run).exclude(state=Bill.State.CANCELLED)
    found = counts(run)
    return {
        "run": run.public_id,
        "period_start": run.period_start.isoformat(),
        "period_end": run.period_end.isoformat(),
        "calculated": found["calculated"],
        "charges_cents": found["charges_cents"],
        **_sums(bills),
    }


def text_of(found: dict[str, Any]) -> str:
    """Return a report as lines for a terminal."""
    period = Period(*(date.fromisoformat(found[name]) for name in ("period_start", "period_end")))
    rows = [
        f"run {found['run']} of {found['cycle']}, {period.start} to {period.last_day}: {found['state']}",
        f"{found['calculated']} of {found['accounts']} accounts, {found['held']} held, {found['issued']} issued, "
        f"{found['estimated']} estimated; charges {found['charges_cents'] / 100:,.2f}",
    ]
    if before := found["before"]:
        rows.append(f"the run before: {before['calculated']} accounts, charges {before['charges_cents'] / 100:,.2f}")
    for line in found["lines"]:
        tier = "" if line["tier"] is None else f" tier {line['tier']}"
        name = f"{line['service']} {line['code']}{tier} ({line['version'] or line['kind']})"
        rows.append(f"  {name:58} {line['lines']:7} lines {line['cents'] / 100:14,.2f}")
    rows += [f"  {one['severity']:4} {one['code']:30} {one['bills']:7} bills" for one in found["findings"]]
    return "\n".join(rows)
