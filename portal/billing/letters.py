"""Letters by mail about new sign-ins, to homes that no email reaches; they go with the paper bills printed next."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from django.db.models import Count, Min

from portal.billing.delivery import hidden, reached_at
from portal.billing.documents.gathering import lines_of, utility_facts
from portal.billing.documents.letter import LetterFacts
from portal.billing.models import BillingAccount, Letter
from portal.core.clock import now
from portal.core.services import audit, utility_settings, utility_zone

if TYPE_CHECKING:
    from datetime import datetime

    from django.db.models import QuerySet

    from portal.core.models import User
    from portal.customers.models import Account, AccountAccess


@dataclass(frozen=True, slots=True)
class WaitingLetters:
    """How many letters wait for the printer, and since when the oldest does."""

    n: int
    oldest_at: datetime


def write_letter(access: AccountAccess, *, place: str, actor: User) -> Letter:
    """Write the letter about a sign-in that was linked, in the transaction that links it; again changes nothing.

    Its words and its address are those of this moment: whoever holds the account from now on changes neither.
    place  where the account gets its water, as its bills say.
    """
    account = access.account
    facts = _facts(account, place)
    letter, fresh = Letter.objects.get_or_create(access=access, defaults={"facts": facts.as_json(), "queued_at": now()})
    if fresh:
        audit("account.letter", actor=actor, target=account, detail={"user": access.user.public_id})
    return letter


def _facts(account: Account, place: str) -> LetterFacts:
    billing = BillingAccount.objects.filter(account=account).first()
    language, paper, mail_to = (billing.language, billing.paper, billing.mail_to) if billing else ("", False, "")
    to = "" if paper else reached_at([account.pk])[account.pk]
    return LetterFacts(
        language=language or utility_settings().default_language,
        account_number=account.number,
        name=account.name,
        mail_to=lines_of(mail_to) or tuple(part for part in (account.name, place) if part),
        place=place,
        day=now().astimezone(utility_zone()).date(),
        utility=replace(utility_facts(), ways_to_pay=(), dispute={}),
        bills_to=hidden(to) if to else "",
    )


def waiting() -> QuerySet[Letter]:
    """Return the letters that are not in a batch yet, in the order of the route."""
    return in_order(Letter.objects.filter(print_batch__isnull=True))


def in_order(letters: QuerySet[Letter]) -> QuerySet[Letter]:
    """Return letters in the order of the route, as bills are printed."""
    account = "access__account"
    return letters.order_by(f"{account}__billing__route", f"{account}__billing__stop", f"{account}__number", "pk")


def waiting_letters() -> WaitingLetters | None:
    """Return what waits for the printer, None when nothing does: one question."""
    found = Letter.objects.filter(print_batch__isnull=True).aggregate(n=Count("pk"), oldest=Min("queued_at"))
    return WaitingLetters(found["n"], found["oldest"]) if found["n"] else None
