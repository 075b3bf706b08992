"""Who signed in to the former portal, with which accounts: they make no new sign-in, they set a new password."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from allauth.account.models import EmailAddress
from django.core.exceptions import ValidationError
from django.db.models import Q
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from portal.billing.models import BillingAccount
from portal.core.accounts import USERNAME_VALIDATORS
from portal.core.models import AuditEntry, User
from portal.core.public_id import new_public_id
from portal.core.services import utility_settings
from portal.customers.models import Account, AccountAccess
from portal.customers.numbers import find_accounts, number_key
from portal.importing.cells import BadCell, account_number, email, language, line_of, yes_no
from portal.importing.columns import Column
from portal.importing.kind import AT_ONCE, By, Kind, Outcome, audit_changes
from portal.importing.references import chunks
from portal.notifications.notify import person_language
from portal.notifications.services import NewEmail, code_text, queue_emails

if TYPE_CHECKING:
    from portal.importing.cells import Reading
    from portal.importing.columns import Findings, Row


def _accounts(cell: str, reading: Reading) -> tuple[str, ...]:
    return tuple(account_number(part.strip(), reading) for part in re.split(r"[;|\n]", cell) if part.strip())


def _username(cell: str, reading: Reading) -> str:
    """Return a user name; one that is an email address stays out: the address itself signs in."""
    if "@" in cell:
        return ""
    try:
        for check in USERNAME_VALIDATORS:
            check(cell)
    except ValidationError as error:
        raise BadCell(error.messages[0] + " " + _("Leave the cell empty: the address signs in as well.")) from None
    return cell.lower()


COLUMNS = (
    Column("email", email, ("e-mail", "email address", "mail", "login"), required=True, example="ana@example.org"),
    Column(
        "account",
        _accounts,
        ("accounts", "account number", "account numbers", "acct", "acct no"),
        required=True,
        example="0010-2345",
        about="which they hold; several with ; between them, or a line for each",
    ),
    Column("name", line_of(150), ("full name", "customer name"), example="Ana Morales"),
    Column("username", _username, ("user", "user name", "login name", "user id"), example="ana.morales"),
    Column("language", language, ("lang",), example="en", about="of pages and messages: en or es"),
    Column(
        "paperless",
        yes_no,
        ("paper less", "e-bill", "ebill", "digital bills"),
        example="yes",
        about="yes: bills by email to this address; no: on paper; empty: as the account says",
    ),
)


@dataclass(slots=True)
class _Person:
    """One address of the file with all its lines."""

    line: int
    email: str
    values: dict[str, str] = field(default_factory=dict)
    accounts: dict[int, Account] = field(default_factory=dict)
    paper: dict[int, bool] = field(default_factory=dict)
    user: User | None = None


@dataclass(slots=True)
class _Plan:
    """What is to be written. bills: (billing account, what was and will be)."""

    new: list[_Person] = field(default_factory=list)
    changed: list[tuple[User, dict[str, list[Any]]]] = field(default_factory=list)
    access: list[tuple[_Person, Account]] = field(default_factory=list)
    bills: list[tuple[BillingAccount, dict[str, list[Any]]]] = field(default_factory=list)
    people: list[_Person] = field(default_factory=list)


def compare(rows: list[Row], findings: Findings) -> Outcome:
    """Compare the people of the file with the users that are there."""
    people = _people(rows, findings)
    _find_users(people, findings)
    held, billing = _standing(people)
    plan, outcome = _Plan(), Outcome()
    for person in people.values():
        if person.line in findings.bad_lines:
            continue
        plan.people.append(person)
        accounts = [one for one in person.accounts.values() if (person.user and person.user.pk, one.pk) not in held]
        plan.access += [(person, account) for account in accounts]
        bills = _bills(person, billing)
        plan.bills += bills
        if person.user is None:
            plan.new.append(person)
            outcome.new += 1
            continue
        change: dict[str, list[Any]] = {
            name: [getattr(person.user, name), value]
            for name, value in person.values.items()
            if value and not getattr(person.user, name)
        }
        if change:
            plan.changed.append((person.user, change))
        if change or accounts or bills:
            outcome.changed += 1
        else:
            outcome.unchanged += 1
    outcome.totals = {"accounts linked": str(len(plan.access))}
    outcome.write = lambda by: _write(plan, by)
    if plan.new and not utility_settings().portal_url:
        findings.notes.append(
            _("The utility has no address of its portal yet: nobody is written to. Import again when it has one.")
        )
    return outcome


def _people(rows: list[Row], findings: Findings) -> dict[str, _Person]:
    """Return the people by their address; lines of one address are put together when they agree."""
    found = find_accounts(number for row in rows for number in row["account"])
    people: dict[str, _Person] = {}
    for row in rows:
        person = people.setdefault(row["email"], _Person(row.line, row["email"]))
        for name in ("name", "username", "language"):
            value = row[name] or ""
            if value and person.values.setdefault(name, value) != value:
                text = _("an earlier line of this address has “%(other)s”; write the same in both, or leave one empty")
                findings.add(row.line, name, text % {"other": person.values[name]}, value=value)
                findings.bad_lines.add(person.line)
        for number in row["account"]:
            account = _account(row, number, found.get(number_key(number), []), findings)
            if account is None:
                findings.bad_lines.add(person.line)
                continue
            person.accounts[account.pk] = account
            if row["paperless"] is not None:
                person.paper[account.pk] = not row["paperless"]
    return people


def _account(row: Row, number: str, candidates: list[Account], findings: Findings) -> Account | None:
    exact = [account for account in candidates if account.number == number]
    if len(candidates) == 1 or len(exact) == 1:
        return (exact or candidates)[0]
    text = _("no account has this number; import the accounts first, or correct the number")
    if candidates:
        text = _("%(numbers)s differ in zeros or dashes only; write the one that is meant exactly")
        text %= {"numbers": ", ".join(account.number for account in candidates)}
    findings.add(row.line, "account", text, value=number)
    return None


def _find_users(people: dict[str, _Person], findings: Findings) -> None:
    """Find who is there already; a user name that somebody else has is a problem."""
    names = Counter(person.values.get("username") or "" for person in people.values())
    taken: dict[str, str] = {}
    for some in chunks(people.values()):
        wanted = [person.values["username"] for person in some if person.values.get("username")]
        for user in User.objects.filter(Q(email__in=[person.email for person in some]) | Q(username__in=wanted)):
            if user.email in people:
                people[user.email].user = user
            if user.username:
                taken[user.username] = user.email
    for person in people.values():
        username = person.values.get("username") or ""
        if username and (names[username] > 1 or taken.get(username, person.email) != person.email):
            text = _("somebody else has this user name; leave it empty here, the address signs in as well")
            findings.add(person.line, "username", text, value=username)


def _standing(people: dict[str, _Person]) -> tuple[set[tuple[int | None, int]], dict[int, BillingAccount]]:
    """Return (user, account) of every access that is or was, and how the accounts are billed.

    Access that has ended is not given again: somebody took it away.
    """
    held: set[tuple[int | None, int]] = set()
    billing: dict[int, BillingAccount] = {}
    for some in chunks(people.values()):
        users = [person.user.pk for person in some if person.user]
        held.update(AccountAccess.objects.filter(user__in=users).values_list("user_id", "account_id"))
        accounts = [pk for person in some for pk in person.paper]
        billing.update((row.account_id, row) for row in BillingAccount.objects.filter(account__in=accounts))
    return held, billing


def _bills(person: _Person, billing: dict[int, BillingAccount]) -> list[tuple[BillingAccount, dict[str, list[Any]]]]:
    """Return how the person's bills change: by email to their address, or on paper; an address that stands stays."""
    found = []
    for pk, paper in person.paper.items():
        row = billing.get(pk)
        if row is None:
            continue
        change: dict[str, list[Any]] = {}
        if row.paper != paper:
            change["paper"] = [row.paper, paper]
        if not paper and not row.email:
            change["email"] = ["", person.email]
        if change:
            found.append((row, change))
    return found


def _write(plan: _Plan, by: By) -> None:
    for person in plan.new:
        person.user = User(email=person.email, date_joined=by.at)
        person.user.set_unusable_password()
        for name, value in person.values.items():
            setattr(person.user, name, value or None if name == "username" else value)
    User.objects.bulk_create([person.user for person in plan.new if person.user], batch_size=AT_ONCE)
    EmailAddress.objects.bulk_create(
        [EmailAddress(user=person.user, email=person.email, primary=True, verified=False) for person in plan.new],
        batch_size=AT_ONCE,
    )
    for user, change in plan.changed:
        for name, (_before, value) in change.items():
            setattr(user, name, value)
    User.objects.bulk_update([user for user, _change in plan.changed], ["name", "username", "language"], AT_ONCE)
    audit_changes("user.import", plan.changed, by)
    AccountAccess.objects.bulk_create(
        [AccountAccess(account=account, user=person.user, granted_at=by.at) for person, account in plan.access],
        batch_size=AT_ONCE,
    )
    AuditEntry.objects.bulk_create([_granted(person, account, by) for person, account in plan.access], AT_ONCE)
    for row, change in plan.bills:
        for name, (_before, value) in change.items():
            setattr(row, name, value)
    BillingAccount.objects.bulk_update([row for row, _change in plan.bills], ["paper", "email"], AT_ONCE)
    kept_private = {"email": ["", "the sign-in's own"]}  # the log says that it changed, not to which address
    told = [(row, {**change, **(kept_private if "email" in change else {})}) for row, change in plan.bills]
    audit_changes("bills.delivery", told, by)
    _write_letters(plan)


def _granted(person: _Person, account: Account, by: By) -> AuditEntry:
    assert person.user is not None
    return AuditEntry(
        action="access.grant",
        actor=by.user,
        actor_label=by.label or (by.user.public_id if by.user else "system"),
        target_type=account._meta.label_lower,
        target_id=account.public_id,
        detail={"user": person.user.public_id, "by": "import"},
    )


def _write_letters(plan: _Plan) -> None:
    """Ask everybody who has no password yet to set one, once, however often the file is imported.

    The letter names the page and holds no key: it may lie in a mailbox for weeks, and a key would be void by then.
    """
    utility = utility_settings()
    if not utility.portal_url:
        return
    site = utility.portal_url.rstrip("/")
    letters = []
    for person in plan.people:
        if person.user is None or person.user.has_usable_password():
            continue
        with person_language(person.user, utility):
            public_id = new_public_id()
            shown = {
                "utility": utility.name,
                "site": site,
                "page": site + reverse("account_reset_password"),
                "email": person.email,
                "username": person.user.username or "",
                "phone": utility.contact_phone,
                "code": code_text(public_id),
            }
            parts = [
                _("%(utility)s has a new portal: %(site)s"),
                _(
                    "Your sign-in and your accounts have come along; you do not register again. Only your password "
                    "could not: please set a new one here, with the address %(email)s:\n%(page)s"
                ),
                _("Your user name is still %(username)s.") if person.user.username else "",
                _("We never ask for a password by email or telephone. When in doubt, call us: %(phone)s.")
                if utility.contact_phone
                else "",
                _("Message code: %(code)s"),
            ]
            letters.append(
                NewEmail(
                    key=f"moved:{person.user.public_id}",
                    to=person.email,
                    subject=_("%(utility)s: please set a new password") % {"utility": utility.name},
                    text="\n\n".join(part % shown for part in parts if part),
                    language=person.user.language or utility.default_language,
                    user=person.user.pk,
                    public_id=public_id,
                )
            )
    queue_emails(letters)


KIND = Kind("users", gettext_lazy("People of the former portal"), COLUMNS, compare)
