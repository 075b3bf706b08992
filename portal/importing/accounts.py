"""Accounts with how they are billed: number, name, cycle, route, and where their bills go."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from portal.billing.models import BillingAccount, Cycle
from portal.customers.models import Account, AccountAlias
from portal.customers.numbers import change_number, find_accounts, number_key
from portal.importing.cells import (
    BadCell,
    account_number,
    day,
    email,
    identifier,
    language,
    line_of,
    text_of,
    whole,
    yes_no,
)
from portal.importing.columns import Column
from portal.importing.kind import AT_ONCE, By, Kind, Outcome, audit_changes, differences
from portal.importing.references import chunks, doubled

if TYPE_CHECKING:
    from portal.importing.cells import Reading
    from portal.importing.columns import Findings, Row

_BILLING = {
    "cycle_id": "cycle", "route": "route", "stop": "stop", "email": "email", "language": "language", "paper": "paper",
    "mail_to": "mailing_address", "opened_on": "opened", "closed_on": "closed",
}  # fmt: skip
"""Field of BillingAccount: column."""


def _former(cell: str, reading: Reading) -> tuple[str, ...]:
    return tuple(account_number(part.strip(), reading) for part in re.split(r"[;|\n]", cell) if part.strip())


def _small(cell: str, reading: Reading) -> int:
    if (number := whole(cell, reading)) > 2_000_000_000:
        raise BadCell(_("the number is too large"))
    return number


def _short(cell: str, reading: Reading) -> str:
    if len(text := identifier(cell, reading)) > 16:
        raise BadCell(_("at most 16 characters fit"))
    return text


COLUMNS = (
    Column(
        "number",
        account_number,
        ("account", "account number", "acct", "acct no", "account no"),
        required=True,
        example="0010-2345",
        about="as it is printed on bills; zeros in front stay",
    ),
    Column("name", line_of(150), ("customer", "customer name", "account name"), example="Elm Street Trust"),
    Column(
        "cycle",
        _short,
        ("billing cycle", "cycle code"),
        example="01",
        about="billing cycle (import cycles first); without one the account gets no bills",
    ),
    Column("route", _short, ("route code", "route number"), example="12"),
    Column("stop", _small, ("sequence", "walk order", "route stop", "stop number"), example="340"),
    Column("email", email, ("e-mail", "email address", "mail"), example="trust@example.org"),
    Column("language", language, ("lang", "bill language"), example="en", about="of the bills: en or es"),
    Column(
        "paper", yes_no, ("paper bill", "print", "paper bills"), example="no", about="yes for a printed bill by mail"
    ),
    Column(
        "mailing_address",
        text_of(500),
        ("mail to", "mailing", "bill to", "billing address"),
        example="PO Box 17\nCedar Valley, OK 73070",
        about="as on the envelope, in several lines",
    ),
    Column("opened", day, ("open date", "opened on", "account opened"), example="2019-04-01"),
    Column("closed", day, ("close date", "closed on", "account closed"), example=""),
    Column(
        "old_number",
        _former,
        ("former number", "old account number", "previous number", "alias"),
        example="",
        about="numbers it had before, several with ; between them: they go on finding it",
    ),
)


@dataclass(slots=True)
class _Plan:
    """What is to be written."""

    new: list[tuple[Account, dict[str, Any], tuple[str, ...]]] = field(default_factory=list)
    named: list[tuple[Account, dict[str, list[Any]]]] = field(default_factory=list)
    billed: list[tuple[BillingAccount, dict[str, list[Any]]]] = field(default_factory=list)
    renamed: list[tuple[Account, str]] = field(default_factory=list)
    aliases: list[tuple[Account, str]] = field(default_factory=list)


def compare(rows: list[Row], findings: Findings) -> Outcome:
    """Compare the rows with the accounts that are there."""
    doubled(rows, {row.line: number_key(row["number"]) for row in rows}, "number", findings)
    _check_former(rows, findings)
    found = find_accounts([number for row in rows for number in (row["number"], *(row["old_number"] or ()))])
    billing = _billing(account.pk for accounts in found.values() for account in accounts)
    cycles: dict[str, int] = {}
    for cycle in Cycle.objects.order_by("code"):
        cycles[cycle.code.lower()] = cycle.pk
        cycles.setdefault(cycle.code.lower().lstrip("0"), cycle.pk)
    plan, outcome = _Plan(), Outcome()
    for row in rows:
        values = _values(row, cycles, findings)
        account = _account(row, found, findings)
        if row.line in findings.bad_lines:
            continue
        _place(row, account, billing.get(account.pk) if account else None, values, found, plan, outcome, findings)
    outcome.write = lambda by: _write(plan, by)
    _notes(rows, plan, findings)
    return outcome


def _values(row: Row, cycles: dict[str, int], findings: Findings) -> dict[str, Any]:
    values = {column: row[name] for column, name in _BILLING.items()}
    if row["cycle"] is not None:
        values["cycle_id"] = cycles.get(row["cycle"].lower()) or cycles.get(row["cycle"].lower().lstrip("0"))
        if values["cycle_id"] is None:
            text = _(
                "no such billing cycle; import it first (`headwater portal import cycles`), or write one of: %(known)s"
            )
            known = ", ".join(cycle.code for cycle in Cycle.objects.order_by("code")) or _("there is none yet")
            findings.add(row.line, "cycle", text % {"known": known}, value=row["cycle"])
    return values


def _check_former(rows: list[Row], findings: Findings) -> None:
    """Make a problem of a former number that two rows claim, and of an account that closed before it opened."""
    owner = {number_key(row["number"]): row.line for row in rows}
    for row in rows:
        for former in {number_key(number): number for number in row["old_number"] or ()}.values():
            line = owner.setdefault(number_key(former), row.line)
            if line != row.line:
                text = _("line %(line)d has this number too; it can find one account only")
                findings.add(row.line, "old_number", text % {"line": line}, value=former)
        if row["opened"] and row["closed"] and row["closed"] < row["opened"]:
            findings.add(row.line, "closed", _("the account would close before it opens; correct one of the days"))


def _account(row: Row, found: dict[str, list[Account]], findings: Findings) -> Account | None:
    """Return the account that a row is about, by its number or a former one; None when it is new."""
    candidates = found.get(number_key(row["number"]), [])
    exact = [account for account in candidates if account.number == row["number"]]
    if len(candidates) > 1 and not exact:
        text = _("%(numbers)s differ in zeros or dashes only; write the one that is meant exactly")
        numbers = ", ".join(account.number for account in candidates)
        findings.add(row.line, "number", text % {"numbers": numbers}, value=row["number"])
    account = next(iter(exact or candidates), None)
    for former in row["old_number"] or ():
        for other in found.get(number_key(former), []):
            if account is None:
                account = other
            elif account.pk != other.pk:
                text = _(
                    "%(former)s is the account %(other)s, and %(number)s is another one; two accounts are not merged"
                )
                parts = {"former": former, "other": other.number, "number": row["number"]}
                findings.add(row.line, "old_number", text % parts, value=former)
    return account


def _place(
    row: Row,
    account: Account | None,
    billing: BillingAccount | None,
    values: dict[str, Any],
    found: dict[str, list[Account]],
    plan: _Plan,
    outcome: Outcome,
    findings: Findings,
) -> None:
    """Put one row where it belongs: new, changed or unchanged."""
    given = {name: value for name, value in values.items() if value is not None}
    if billing is None and given and "cycle_id" not in given:
        text = _("this account is not billed yet, so it needs a cycle too; fill in the cycle")
        findings.add(row.line, "cycle", text, value="")
        return
    former = {number_key(number): number for number in row["old_number"] or ()}
    if account is None:
        former.pop(number_key(row["number"]), None)
        plan.new.append((Account(number=row["number"], name=row["name"] or ""), given, tuple(former.values())))
        outcome.new += 1
        return
    named = differences(account, {"name": row["name"]})
    billed = differences(billing, values) if billing else {name: [None, value] for name, value in given.items()}
    rename = number_key(row["number"]) not in found
    missing = [number for key, number in former.items() if key not in found and key != number_key(row["number"])]
    if named:
        plan.named.append((account, named))
    if billed:
        plan.billed.append((billing or BillingAccount(account=account), billed))
    if rename:
        plan.renamed.append((account, row["number"]))
    plan.aliases += [(account, number) for number in missing]
    is_changed = bool(named or billed or rename or missing)
    outcome.changed += is_changed
    outcome.unchanged += not is_changed


def _billing(accounts: Any) -> dict[int, BillingAccount]:
    found: dict[int, BillingAccount] = {}
    for ids in chunks(sorted(set(accounts))):
        found.update((row.pk, row) for row in BillingAccount.objects.filter(pk__in=ids).select_related("account"))
    return found


def _write(plan: _Plan, by: By) -> None:
    made = Account.objects.bulk_create([account for account, _given, _former in plan.new], batch_size=AT_ONCE)
    billing = [
        BillingAccount(account=account, **given)
        for account, (_row, given, _former) in zip(made, plan.new, strict=True)
        if given
    ]
    BillingAccount.objects.bulk_create(billing, batch_size=AT_ONCE)
    aliases = [(account, n) for account, (_r, _g, former) in zip(made, plan.new, strict=True) for n in former]
    for account, change in plan.named:
        account.name = change["name"][1]
    # An insert that meets its own key and updates: ten times faster than an update of many rows with many columns.
    Account.objects.bulk_create(
        [account for account, _change in plan.named],
        batch_size=AT_ONCE,
        update_conflicts=True,
        unique_fields=["id"],
        update_fields=["name"],
    )
    for billed, change in plan.billed:
        for name, (_before, value) in change.items():
            setattr(billed, name, value)
    BillingAccount.objects.bulk_create(
        [billed for billed, _change in plan.billed],
        batch_size=AT_ONCE,
        update_conflicts=True,
        unique_fields=["account"],
        update_fields=list(_BILLING),
    )
    rows = [AccountAlias(account=account, number=n, since=by.at) for account, n in (*aliases, *plan.aliases)]
    AccountAlias.objects.bulk_create(rows, batch_size=AT_ONCE)
    for account, number in plan.renamed:
        change_number(account, number, actor=by.user, label=by.label)
    audit_changes("account.import", [*plan.named, *((row.account, change) for row, change in plan.billed)], by)


def _notes(rows: list[Row], plan: _Plan, findings: Findings) -> None:
    unbilled = sum(not given for _account, given, _former in plan.new)
    if unbilled:
        findings.notes.append(_("%(n)d new accounts have no cycle: they get no bills.") % {"n": unbilled})
    silent = sum(
        bool(given) and not given.get("email") and not given.get("paper") for _account, given, _former in plan.new
    )
    if silent:
        text = _("%(n)d new accounts have neither an email address nor a paper bill: their bills are seen online only.")
        findings.notes.append(text % {"n": silent})


KIND = Kind("accounts", gettext_lazy("Accounts"), COLUMNS, compare)
