"""The only door to the journal: post, post many, reverse; and what an account owes.

Amounts are integer cents, a debit positive, a credit negative. An entry is posted once for each key, whatever is
retried or raced; what was posted is never changed, only reversed. A bill debits 1200 with `receivable_legs`, one leg a
service, so that payments can be set against services in the utility's order.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from django.db import IntegrityError, transaction
from django.db.models import Sum

from portal.core.clock import now
from portal.core.errors import Refused
from portal.core.services import audit, utility_zone
from portal.ledger import chart
from portal.ledger.models import JournalEntry, LedgerAccount, Posting, Seal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import date

    from portal.core.models import User
    from portal.customers.models import Account

KEYS_A_QUERY = 500
ROWS_A_QUERY = 2000


@dataclass(frozen=True, slots=True)
class Leg:
    """One leg of an entry to be posted.

    ledger_account_code  of the chart; amount_cents: a debit positive, a credit negative; zero is left out.
    account              id of the customer's account; demanded on control accounts (chart.OF_CUSTOMERS).
    due_on               of a receivable: from when on it ages; the entry's date when None.
    """

    ledger_account_code: str
    amount_cents: int
    account: int | None = None
    service: str = ""
    due_on: date | None = None


@dataclass(frozen=True, slots=True)
class NewEntry:
    """An entry to be posted; see JournalEntry for the fields."""

    kind: str
    date: date
    legs: Sequence[Leg]
    key: str
    memo: str = ""
    actor: User | None = None
    label: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)
    reverses: JournalEntry | None = None

    def by(self, actor: User | None, label: str = "") -> NewEntry:
        """Return the entry as posted by somebody."""
        return replace(self, actor=actor, label=label)


def today() -> date:
    """Return the utility's day."""
    return now().astimezone(utility_zone()).date()


def post(
    kind: str,
    date: date,
    legs: Sequence[Leg],
    *,
    key: str,
    memo: str = "",
    actor: User | None = None,
    label: str = "",
    detail: Mapping[str, Any] | None = None,
) -> JournalEntry:
    """Post one entry and return it; the one that stands, when the key was posted before with the same legs.

    raises  Refused(`key`) when the key was posted with other legs; Refused(`legs`) for legs that do not balance.
    """
    return post_many([NewEntry(kind, date, legs, key, memo, actor, label, detail or {})])[0]


def post_many(entries: Sequence[NewEntry]) -> list[JournalEntry]:
    """Post entries, in a number of queries that does not grow with each of them; return them in their order.

    All of them or none; those whose key was posted before with the same legs are returned as they stand.
    raises  as `post` does.
    """
    for entry in entries:
        _check_legs(entry)
    if doubled := [key for key, number in Counter(entry.key for entry in entries).items() if number > 1]:
        raise Refused("key", f"posted twice in one go: {', '.join(doubled[:3])}; give every entry a key of its own")
    try:
        with transaction.atomic():
            return _post(entries)
    except IntegrityError:
        # Another process posted one of the keys in the meantime: then it stands now, and is compared. Otherwise the
        # same error comes again.
        with transaction.atomic():
            return _post(entries)


def receivable_legs(account: int, cents_by_service: Mapping[str, int], *, due_on: date) -> list[Leg]:
    """Return the legs on receivables of a bill: one a service, all due on one day."""
    return [
        Leg(chart.RECEIVABLES, cents, account=account, service=service, due_on=due_on)
        for service, cents in sorted(cents_by_service.items())
        if cents
    ]


@transaction.atomic
def reverse(
    entry: JournalEntry, *, key: str, reason: str, actor: User | None = None, label: str = "", on: date | None = None
) -> JournalEntry:
    """Post the mirror of an entry, dated `on` (today, and never before the entry); both stay.

    raises  Refused(`reason`) without one; Refused(`reversed`) when it was reversed before under another key;
            Refused(`reversal`) for an entry that is itself a reversal: post what it took back anew instead.
    """
    reason = " ".join(reason.split())
    if not reason:
        raise Refused("reason", "say why the entry is reversed")
    if entry.reverses_id is not None:
        raise Refused("reversal", f"{entry.key} is a reversal; post anew what it took back")
    standing = JournalEntry.objects.filter(reverses=entry).first()
    if standing is not None and standing.key != key:
        raise Refused("reversed", f"{entry.key} was reversed on {standing.date} by {standing.key}")
    mirrored = [
        Leg(leg.ledger_account.code, -leg.amount_cents, leg.account_id, leg.service, leg.due_on)
        for leg in entry.postings.select_related("ledger_account").order_by("pk")
    ]
    day = max(on or today(), entry.date)
    [made] = post_many(
        [NewEntry("reversal", day, mirrored, key, reason[:200], actor, label, {"of": entry.key}, reverses=entry)]
    )
    if standing is None:
        audit("ledger.reversed", actor=actor, label=label, target=entry, reason=reason[:200], detail={"key": key})
    return made


def balance_cents(account: Account, on: date | None = None) -> int:
    """Return what an account owes (negative: its credit), of entries dated up to and including `on`."""
    found = Posting.objects.filter(account=account, ledger_account__code=chart.RECEIVABLES)
    if on is not None:
        found = found.filter(entry__date__lte=on)
    return found.aggregate(cents=Sum("amount_cents"))["cents"] or 0


def balances(accounts: Iterable[int], *, code: str = chart.RECEIVABLES, on: date | None = None) -> dict[int, int]:
    """Return for account ids what stands on a control account, receivables unless told otherwise; zero included."""
    wanted = list(accounts)
    found = dict.fromkeys(wanted, 0)
    for begin in range(0, len(wanted), ROWS_A_QUERY):
        rows = Posting.objects.filter(account__in=wanted[begin : begin + ROWS_A_QUERY], ledger_account__code=code)
        if on is not None:
            rows = rows.filter(entry__date__lte=on)
        found.update(rows.values_list("account").annotate(cents=Sum("amount_cents")).order_by())
    return found


def _check_legs(entry: NewEntry) -> None:
    if not entry.key or len(entry.key) > 160:
        raise Refused("key", "an entry needs a key of 1 to 160 characters that names its reason for being")
    legs = [leg for leg in entry.legs if leg.amount_cents]
    if total := sum(leg.amount_cents for leg in legs):
        raise Refused("legs", f"{entry.key}: the legs sum to {total} cents, not to zero")
    if len(legs) < 2:
        raise Refused("legs", f"{entry.key}: an entry needs at least two legs that are not zero")
    for leg in legs:
        if (leg.account is None) is (leg.ledger_account_code in chart.OF_CUSTOMERS):
            needs = "needs a customer's account" if leg.account is None else "takes no customer's account"
            raise Refused("legs", f"{entry.key}: {leg.ledger_account_code} {needs}")


def _post(entries: Sequence[NewEntry]) -> list[JournalEntry]:
    standing = _standing([entry.key for entry in entries])
    fresh = [entry for entry in entries if entry.key not in standing]
    old = [entry for entry in entries if entry.key in standing]
    if old:
        _compare(old, standing)
    if fresh:
        standing.update(_write(fresh))
    return [standing[entry.key] for entry in entries]


def _standing(keys: Sequence[str]) -> dict[str, JournalEntry]:
    found = {}
    for begin in range(0, len(keys), KEYS_A_QUERY):
        found.update({row.key: row for row in JournalEntry.objects.filter(key__in=keys[begin : begin + KEYS_A_QUERY])})
    return found


def _compare(entries: Sequence[NewEntry], standing: Mapping[str, JournalEntry]) -> None:
    """Refuse entries whose key stands with other legs: two events under one name, or one that changed its mind."""
    posted: defaultdict[int, list[Leg]] = defaultdict(list)
    ids = [standing[entry.key].pk for entry in entries]
    for begin in range(0, len(ids), KEYS_A_QUERY):
        rows = Posting.objects.filter(entry__in=ids[begin : begin + KEYS_A_QUERY])
        for entry_id, code, cents, account, service, due_on in rows.values_list(
            "entry", "ledger_account__code", "amount_cents", "account", "service", "due_on"
        ):
            posted[entry_id].append(Leg(code, cents, account, service, due_on))
    for entry in entries:
        row = standing[entry.key]
        legs = Counter(leg for leg in entry.legs if leg.amount_cents)
        reverses = entry.reverses.pk if entry.reverses else None
        if Counter(posted[row.pk]) != legs or row.kind != entry.kind or row.reverses_id != reverses:
            raise Refused("key", f"{entry.key} was posted on {row.date} with other legs; reverse that one first")


def _write(entries: Sequence[NewEntry]) -> dict[str, JournalEntry]:
    moment = now()
    codes = _chart({leg.ledger_account_code for entry in entries for leg in entry.legs if leg.amount_cents})
    rows = [
        JournalEntry(
            key=entry.key,
            kind=entry.kind,
            date=entry.date,
            posted_at=moment,
            memo=entry.memo[:200],
            actor=entry.actor,
            actor_label=entry.label or (entry.actor.public_id if entry.actor else "system"),
            detail=dict(entry.detail),
            reverses=entry.reverses,
        )
        for entry in entries
    ]
    for row in rows:
        row.seal_id = row.public_id
    JournalEntry.objects.bulk_create(rows, batch_size=ROWS_A_QUERY)
    Posting.objects.bulk_create(
        (
            Posting(
                entry=row,
                ledger_account_id=codes[leg.ledger_account_code],
                account_id=leg.account,
                amount_cents=leg.amount_cents,
                service=leg.service,
                due_on=leg.due_on,
            )
            for row, entry in zip(rows, entries, strict=True)
            for leg in entry.legs
            if leg.amount_cents
        ),
        batch_size=ROWS_A_QUERY,
    )
    Seal.objects.bulk_create((Seal(row.public_id) for row in rows), batch_size=ROWS_A_QUERY)
    return {row.key: row for row in rows}


def _chart(codes: set[str]) -> dict[str, int]:
    """Return the ids of accounts of the chart; what a database without its chart lacks is made."""
    found = dict(LedgerAccount.objects.filter(code__in=codes).values_list("code", "pk"))
    if len(found) < len(codes):
        known = {code: (name, kind) for code, name, kind in chart.CHART}
        if unknown := sorted(codes - set(found) - set(known)):
            raise Refused("ledger-account", f"not in the chart of accounts: {', '.join(unknown)}")
        LedgerAccount.objects.bulk_create(
            (LedgerAccount(code=code, name=known[code][0], kind=known[code][1]) for code in codes - set(found)),
            ignore_conflicts=True,
        )
        found = dict(LedgerAccount.objects.filter(code__in=codes).values_list("code", "pk"))
    return found
