"""Checks that every day of an agreement is billed once: no day twice, none left out between two bills."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING

from portal.billing.models import Bill, ServiceAgreement
from portal.billing.reconciling.difference import Difference

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import date

    from portal.billing.reconciling.facts import Segment

_Span = tuple["date", "date"]


def check_days(accounts: Sequence[int]) -> Iterator[Difference]:
    """Compare accounts' issued bills with their agreements: three queries."""
    bills: dict[int, list[tuple[date, date, int, str]]] = defaultdict(list)
    rows = Bill.objects.filter(account__in=accounts, state=Bill.State.ISSUED).order_by("period_start", "pk")
    numbers: dict[int, str] = {}
    for account, number, pk, start, end, text in rows.values_list(
        "account", "account__number", "pk", "period_start", "period_end", "number"
    ):
        bills[account].append((start, end, pk, text or ""))
        numbers[account] = number
    agreements: dict[int, list[ServiceAgreement]] = defaultdict(list)
    held = ServiceAgreement.objects.filter(account__in=bills).select_related("service_point__premise").order_by("start")
    for agreement in held:
        agreements[agreement.account_id].append(agreement)
    billed: dict[tuple[int, int], list[_Span]] = defaultdict(list)
    for bill, agreement_id, start, end in (
        Bill.objects.filter(account__in=bills, state=Bill.State.ISSUED, segments__isnull=False)
        .values_list("pk", "segments__agreement", "segments__start", "segments__end")
        .order_by("segments__start")
    ):
        billed[bill, agreement_id].append((start, end))
    for account, spans in bills.items():
        yield from _between(spans, agreements[account], numbers[account])
        for start, end, pk, number in spans:
            for agreement in agreements[account]:
                wanted = max(start, agreement.start), min(end, agreement.end or end)
                if wanted[0] < wanted[1]:
                    place = f"bill {number}, account {numbers[account]}, {agreement.service_point.premise}"
                    yield from _tiled(billed[pk, agreement.pk], wanted, place)
                elif billed[pk, agreement.pk]:
                    place = f"bill {number}, account {numbers[account]}, {agreement.service_point.premise}"
                    yield Difference("days", place, "days are billed on which the agreement does not hold")


def _between(
    bills: Sequence[tuple[date, date, int, str]], agreements: Sequence[ServiceAgreement], account: str
) -> Iterator[Difference]:
    for (_start, end, _pk, number), (start, _end, _other, following) in pairwise(bills):
        place = f"bill {following}, account {account}"
        if start < end:
            yield Difference("billed-twice", place, f"its days up to {end} are on bill {number} too")
        elif start > end and any(row.start < start and (row.end is None or row.end > end) for row in agreements):
            yield Difference("days-left-out", place, f"{end} to {start} is on no bill, and an agreement held then")


def _tiled(spans: Sequence[_Span], wanted: _Span, place: str) -> Iterator[Difference]:
    """Compare what is billed by an agreement with the days that should be: each once."""
    at = wanted[0]
    for start, end in sorted(spans):
        if start > at:
            yield Difference("days-left-out", place, f"{at} to {start} is not billed")
        elif start < at:
            yield Difference("billed-twice", place, f"{start} to {min(at, end)} is billed twice")
        at = max(at, end)
    if at < wanted[1]:
        yield Difference("days-left-out", place, f"{at} to {wanted[1]} is not billed")
    elif at > wanted[1]:
        yield Difference("days", place, f"{wanted[1]} to {at} is billed, and the agreement does not hold")


def place_of(segments: Sequence[Segment]) -> str:
    """Return whom a row of bills concerns: the accounts and the address."""
    first, last = segments[0], segments[-1]
    accounts = sorted({segment.account_number for segment in segments})
    return f"account {', '.join(accounts)}, {first.address}, {first.start} to {last.end}"
