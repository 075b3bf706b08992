"""The `policies` of a rate file: dated rules, later ones keeping what they do not change."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date
from fractions import Fraction
from typing import Any

from rates.document import Document, Path
from rates.policies import (
    BudgetBilling,
    Deposit,
    DueRule,
    EstimationRule,
    LateFee,
    LeakAdjustment,
    Policies,
    ProrationRule,
    ReturnedPayment,
)

Day = Callable[[str, Path], date]
YES = frozenset({"yes", "true"})


def read_policies(document: Document, rows: list[dict[str, Any]], day: Day) -> tuple[tuple[date, Policies], ...]:
    """Return the rules by the day from which they hold."""
    found: list[tuple[date, Policies]] = []
    current = Policies()
    for index, row in enumerate(rows):
        path: Path = ("policies", index)
        start = day(row["from"], (*path, "from"))
        if found and start <= found[-1][0]:
            document.fault((*path, "from"), "must be later than the one before it")
        current = _changed(current, row, path, document, day)
        found.append((start, current))
    return tuple(found)


def _changed(before: Policies, row: Mapping[str, Any], path: Path, document: Document, day: Day) -> Policies:
    after = before
    if "proration" in row:
        after = replace(after, proration=ProrationRule(**_read(row["proration"], tolerance_percent=Fraction)))
    if "due" in row:
        due = row["due"]
        holidays = frozenset(day(text, (*path, "due", "holidays", i)) for i, text in enumerate(due.get("holidays", ())))
        rule = DueRule(**_read(due, days=int, day_of_month=int, next_business_day=_yes), holidays=holidays)
        after = replace(after, due=rule)
    if "estimation" in row:
        after = replace(after, estimation=EstimationRule(**_read(row["estimation"], max_consecutive=int)))
    if "late_fee" in row:
        after = replace(after, late_fee=_late_fee(row["late_fee"]))
    if "leak_adjustment" in row:
        after = replace(after, leak=_leak(row["leak_adjustment"], (*path, "leak_adjustment"), document))
    if "budget_billing" in row:
        after = replace(after, budget=_budget(row["budget_billing"], (*path, "budget_billing"), document))
    if "deposit" in row:
        deposit = row["deposit"]
        amounts = {name: _cents(text) for name, text in deposit["amounts"].items()}
        after = replace(after, deposit=Deposit(amounts, **_read(deposit, refund_after_months=int, late_max=int)))
    if "returned_payment" in row:
        returned = row["returned_payment"]
        rest = _read(returned, cash_only_after=int, cash_only_months=int)
        after = replace(after, returned_payment=ReturnedPayment(_cents(returned["fee"]), **rest))
    if "fees" in row:
        fees = {name: _cents(fee["amount"]) for name, fee in row["fees"].items()}
        labels = {name: fee["label"] for name, fee in row["fees"].items()}
        after = replace(after, fees={**before.fees, **fees}, fee_labels={**before.fee_labels, **labels})
    return after


def _late_fee(row: Mapping[str, str]) -> LateFee:
    return LateFee(
        Fraction(row["percent"]),
        minimum_cents=_cents(row.get("minimum", "0")),
        threshold_cents=_cents(row.get("threshold", "0")),
        after_days=int(row.get("after_days", "1")),
    )


def _leak(row: Mapping[str, str], path: Path, document: Document) -> LeakAdjustment:
    numbers = {"average_months": int, "every_months": int, "rounding": int, "bills_max": int}
    rule = LeakAdjustment(**_read(row, share=_share, excess_percent=Fraction, needs_proof=_yes, **numbers))
    for key, least in (("average_months", 1), ("rounding", 1), ("bills_max", 1)):
        if getattr(rule, key) < least:
            document.fault((*path, key), f"must be at least {least}")
    if rule.share > 1:
        document.fault((*path, "share"), "must not be more than 100%")
    return rule


def _budget(row: Mapping[str, str], path: Path, document: Document) -> BudgetBilling:
    rule = BudgetBilling(**_read(row, divisor=int, factor=Fraction, settle_month=int, history_months=int))
    for key in ("divisor", "history_months"):
        if getattr(rule, key) < 1:
            document.fault((*path, key), "must be at least 1")
    return rule


def _read(row: Mapping[str, Any], **read: Callable[[str], Any]) -> dict[str, Any]:
    return {key: how(row[key]) for key, how in read.items() if key in row}


def _cents(text: str) -> int:
    return int(Fraction(text) * 100)


def _yes(text: str) -> bool:
    return text in YES


def _share(text: str) -> Fraction:
    return Fraction(text.removesuffix("%")) / 100
