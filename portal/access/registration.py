"""Whose account is it? Proved with the most recent bill; linked to a sign-in once its address was confirmed.

Every refusal has the same text and costs the same work, whether the account exists or not: nobody learns here who is a
customer. Tries are counted in the database, so that neither many processes nor many requests at once give more of them.
"""

from __future__ import annotations

import contextlib
import hmac
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from django.conf import settings
from django.db import transaction
from django.db.models import F, ProtectedError
from django.utils.translation import get_language
from django.utils.translation import gettext as _

from portal.access.letters import tell_address_of_record, tell_home, tell_of_new_sign_in, tell_office_of_sweep
from portal.access.models import PendingClaim, RegistrationTry
from portal.access.typed import cents_typed, day_typed
from portal.billing.delivery import reached_at
from portal.billing.models import Bill, BillingAccount
from portal.billing.preferences import Delivery, paper_instead_of, set_delivery
from portal.core.clock import now
from portal.core.errors import Refused
from portal.core.models import User
from portal.core.services import audit, utility_zone
from portal.customers.models import Account, AccountAccess
from portal.customers.numbers import find_account, number_key
from portal.customers.permissions import Level
from portal.customers.services import end_access, grant_access
from portal.ledger.models import Posting

if TYPE_CHECKING:
    from datetime import date

TRIES_A_DAY = 5
"""For one account: as many as a hurried person needs, far too few to guess an amount."""
NETWORK_TRIES_A_DAY = 40
"""For one network: a library's computers may share an address, a robot that walks through account numbers stops."""
DATES_A_NETWORK_A_DAY = 10
"""For one network, of tries with a date and no amount: a whole cycle of bills shares its date."""
DATE_MISSES_A_DAY = 200
"""Of all: after so many wrong tries of that kind the date alone proves nothing until tomorrow; the amount does."""
CLAIM_LASTS = timedelta(days=1)
_NUMBER_CHARS_MAX = 40
_DATE_MISSES, _TOLD = "dates-missed", "office-told"
"""What is counted for everybody together; no account and no network is called so."""
_BILL_KEY = re.compile(r"([0-9]{6})0*([1-9][0-9]{0,15})")


def prove(number: str, *, amount: str = "", date: str = "", network: str = "") -> Account:
    """Return the account that a number means when what was typed stands on its most recent bill.

    number   of the account, now or formerly, or of one of its bills; dashes, blanks, leading zeros, case do not count.
    amount   due on the most recent bill, or its new charges, or what was paid last. date: of that bill.
             One is enough; what is given must be right.
    network  where the request comes from; empty: not counted.
    raises   Refused(`number`, `amount`, `date`, `one`) for what nobody could mean: no try is counted. Everything else
             is Refused(`proof`) with one text: unknown number, wrong amount, no bill yet, too many tries.
    """
    typed = _Typed(cents_typed(amount), day_typed(date, language=get_language() or "en"))
    number = number.replace("\0", "").strip()[:_NUMBER_CHARS_MAX]
    if not number_key(number):
        raise Refused("number", _("Type the account number or the bill number."))
    if typed.cents is None and typed.day is None:
        raise Refused("one", _("Type the amount or the date of your most recent bill."))
    account = _account_meant(number)
    subject = f"account:{account.public_id}" if account else f"number:{number_key(number)}"
    by_date = typed.cents is None
    limits = [_count(f"network:{network}", NETWORK_TRIES_A_DAY)] if network else []
    if network and by_date:
        limits.append(_count(f"dates:{network}", DATES_A_NETWORK_A_DAY))
    counted = [_count(subject, TRIES_A_DAY), *limits]
    if by_date:
        counted.append(_tries(_DATE_MISSES) < DATE_MISSES_A_DAY)
    proved = _fits(0 if account is None else account.pk, typed)
    if account is None or not all(counted) or not proved:
        _note_refusal(by_date=by_date, walks=not all(limits))
        raise Refused("proof", refusal())
    return account


def _note_refusal(*, by_date: bool, walks: bool) -> None:
    """Count a wrong date, and tell the office of somebody who walks through numbers, once a day.

    walks  their network has had its tries: what it asks from now on closes the date for nobody else.
    """
    swept = walks
    if by_date and not walks:
        swept = not _count(_DATE_MISSES, DATE_MISSES_A_DAY)
    if swept and _count(_TOLD, 1):
        tell_office_of_sweep(_today())


def refusal() -> str:
    """Return the one text for everything that does not prove an account."""
    return _(
        "We could not find an account with these details. Compare them with your most recent bill. If you typed the "
        "date, try the amount. An account can be tried five times a day; after that, try tomorrow or call us."
    )


@dataclass(frozen=True, slots=True)
class _Typed:
    cents: int | None
    day: date | None


def _account_meant(number: str) -> Account | None:
    """Return the account of a number; the account's number comes before a bill's. Always the same questions."""
    by_account = find_account(number)
    found = _BILL_KEY.fullmatch(number_key(number))
    bill_number = f"{found[1]}-{int(found[2]):07d}" if found else "-"
    by_bill = Bill.objects.filter(number=bill_number, state=Bill.State.ISSUED).select_related("account").first()
    return by_account or (by_bill.account if by_bill else None)


def _fits(account: int, typed: _Typed) -> bool:
    """Tell whether all that was typed fits the newest bill, or the amount what was paid last. Always two questions."""
    bill = (
        Bill.objects.filter(account_id=account, state=Bill.State.ISSUED)
        .order_by("-bill_date", "-period_end", "-pk")
        .values_list("bill_date", "due_cents", "charges_cents")
        .first()
    )
    paid = (
        Posting.objects.filter(
            account_id=account, entry__kind="payment", entry__reversed_by__isnull=True, amount_cents__lt=0
        )
        .order_by("-entry__date", "-entry_id")
        .values_list("amount_cents", flat=True)
        .first()
    )
    amounts = {-paid} if paid else set()
    amounts |= {cents for cents in bill[1:] if cents > 0} if bill else set()
    cents_fit = typed.cents is None or typed.cents in amounts
    day_fits = typed.day is None or (bill is not None and typed.day == bill[0])
    return cents_fit and day_fits


def _count(subject: str, most: int) -> bool:
    """Count one more try; False when there were enough already. Whoever comes at the same time waits for the row."""
    digest, today = _digest(subject), _today()
    with transaction.atomic():
        RegistrationTry.objects.bulk_create([RegistrationTry(account_digest=digest, day=today)], ignore_conflicts=True)
        counted = RegistrationTry.objects.filter(account_digest=digest, day=today, tries__lt=most)
        return counted.update(tries=F("tries") + 1) == 1


def _digest(subject: str) -> bytes:
    return hmac.digest(settings.SECRET_KEY.encode(), b"registration:" + subject.encode(), "sha256")


def _today() -> date:
    return datetime.now(UTC).astimezone(utility_zone()).date()


def tries_today(account: Account) -> int:
    """Return how often somebody has tried today to prove an account; tries for a network are not among them."""
    return _tries(f"account:{account.public_id}")


def _tries(subject: str) -> int:
    tries = RegistrationTry.objects.filter(account_digest=_digest(subject), day=_today())
    return tries.values_list("tries", flat=True).first() or 0


@transaction.atomic
def clear_tries(account: Account, *, actor: User) -> None:
    """Let an account be tried again today, as a customer on the telephone asks; nothing happens when none was tried."""
    tries = RegistrationTry.objects.filter(account_digest=_digest(f"account:{account.public_id}"), day=_today())
    if tries.delete()[0]:
        audit("registration.tries.clear", actor=actor, target=account)


def claim(user: User, account: Account) -> None:
    """Keep a proved account for a new sign-in until its address is confirmed, a day at most."""
    PendingClaim.objects.update_or_create(
        user=user, account=account, defaults={"expires_at": datetime.now(UTC) + CLAIM_LASTS}
    )


@transaction.atomic
def settle_claims(user: User) -> list[Account]:
    """Link the accounts that wait for a person's address to be confirmed, now that it is; return them."""
    claims = PendingClaim.objects.select_for_update().filter(user=user).select_related("account")
    due = [one.account for one in claims if one.expires_at > datetime.now(UTC)]
    claims.delete()
    for account in due:
        link_account(user, account)
    return due


@transaction.atomic
def link_account(user: User, account: Account) -> AccountAccess:
    """Let a person hold an account that they have proved; who held it before is told. Again: nothing changes.

    Somebody who found a bill in the bin is not the customer: where nobody can be told by email, a letter goes to the
    home (bills that nobody had by email turn to the newcomer's address here).
    """
    standing = AccountAccess.objects.select_for_update().filter(account=account, user=user, ended_at=None).first()
    if standing is not None and standing.level == Level.HOLDER:
        return standing
    if standing is not None:
        end_access(standing, at=now(), actor=user)
    record = BillingAccount.objects.filter(account=account).values_list("email", "language").first() or ("", "")
    unseen = not reached_at([account.pk])[account.pk]
    first = not AccountAccess.objects.filter(account=account, level=Level.HOLDER, ended_at=None).exists()
    access = grant_access(account, user, at=now(), actor=user)
    if first:
        _bills_by_email(account, user)
    tell_of_new_sign_in(account, user)
    tell_address_of_record(account, user, address=record[0], language=record[1])
    if unseen:
        tell_home(access, language=record[1])
    return access


def _bills_by_email(account: Account, user: User) -> None:
    """Let the bills of an account come by email once it has a sign-in; paper is chosen anew where they are shown."""
    billing = BillingAccount.objects.filter(account=account, paper=True).first()
    if billing is not None:
        set_delivery(account, Delivery(paper=False, email=user.email, language=billing.language), actor=user)


@transaction.atomic
def unlink(user: User, account: Account, *, actor: User | None = None, reason: str = "") -> None:
    """Let a person give up an account; the guests of the last holder lose it too, for nobody could send them away.

    Bills that went to the person's address go on paper: they are not theirs to read any more.
    actor   who takes it away, where that is not the person, and why.
    raises  Refused(`access`) when they do not hold it.
    """
    who = actor or user
    holders = AccountAccess.objects.select_for_update().filter(account=account, ended_at=None)
    own = next((one for one in holders if one.user_id == user.pk and one.level == Level.HOLDER), None)
    if own is None:
        raise Refused("access", _("This account is not linked to your sign-in."))
    others = [one for one in holders if one.pk != own.pk]
    end_access(own, at=now(), actor=who)
    if not any(one.level == Level.HOLDER for one in others):
        for guest in others:
            end_access(guest, at=now(), actor=who)
    paper_instead_of(user.email, account=account, actor=who, reason=reason)
    audit("account.unlink", actor=who, target=account, reason=reason, detail={"user": user.public_id})


def prune() -> int:
    """Remove claims that expired, sign-ins made for them and never confirmed, and old tries; return how many rows."""
    today = datetime.now(UTC)
    removed, _rows = RegistrationTry.objects.filter(day__lt=(today - timedelta(days=3)).date()).delete()
    expired = PendingClaim.objects.filter(expires_at__lte=today)
    never_in = User.objects.filter(pending_claims__in=expired, last_login=None, is_staff=False, account_access=None)
    for user in never_in.exclude(emailaddress__verified=True).distinct():
        with contextlib.suppress(ProtectedError):  # somebody wrote something down about them: they stay
            removed += user.delete()[0]
    return removed + expired.delete()[0]
