"""How bills reach an account: by email or on paper, to which address, in which language; each change is audited."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.db import transaction
from django.utils.translation import gettext as _

from portal.billing.documents.words import LANGUAGES
from portal.billing.models import BillingAccount
from portal.core.errors import Refused
from portal.core.services import audit
from portal.customers.permissions import Permission, may

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from portal.core.models import User
    from portal.customers.models import Account


@dataclass(frozen=True, slots=True)
class Delivery:
    """What was chosen. email: the address for bills, empty on paper to keep the one that is known."""

    paper: bool
    email: str
    language: str


def addresses(billing: BillingAccount, user: User) -> tuple[str, ...]:
    """Return the addresses that a person may have bills sent to: the one in use, and the one they sign in with.

    Nobody can send bills to an address that was never confirmed: a sign-in's own was.
    """
    return tuple(dict.fromkeys(address for address in (billing.email.lower(), user.email) if address))


def emailed_to(address: str) -> QuerySet[BillingAccount]:
    """Return the accounts whose bills go to an address by email, or would if they were not on paper."""
    return BillingAccount.objects.filter(email__iexact=address)


@transaction.atomic
def paper_instead_of(address: str, *, actor: User, account: Account | None = None, reason: str = "") -> int:
    """Let bills that went to the address of somebody who holds the account no longer go on paper; return how many.

    account  the one that they gave up; none for all.
    """
    found = emailed_to(address).select_for_update()
    rows = list(found if account is None else found.filter(account=account))
    for row in rows:
        detail = {"paper": [row.paper, True], "email": ["kept private", "none"]}
        row.paper, row.email = True, ""
        row.save(update_fields=["paper", "email"])
        audit("bills.delivery", actor=actor, target=row.account, detail=detail, reason=reason)
    return len(rows)


@transaction.atomic
def set_delivery(account: Account, chosen: Delivery, *, actor: User) -> BillingAccount:
    """Keep how an account's bills are sent, for somebody who manages the account.

    raises  Refused(`not-yours`, `not-billed`, `language`, `address`).
    """
    if not may(actor, Permission.MANAGE, account):
        raise Refused("not-yours", _("This account is not one of yours."))
    billing = BillingAccount.objects.select_for_update().filter(account=account).first()
    if billing is None:
        raise Refused("not-billed", _("No bills are made for this account."))
    if chosen.language not in LANGUAGES:
        raise Refused("language", _("Choose a language in which bills are written."))
    email = chosen.email.strip().lower()
    if not chosen.paper and email not in addresses(billing, actor):
        raise Refused("address", _("Bills go to an address that was confirmed: choose one of those shown."))
    changed = {
        name: [before, after]
        for name, before, after in (
            ("paper", billing.paper, chosen.paper),
            ("language", billing.language, chosen.language),
        )
        if before != after
    }
    if not chosen.paper and email != billing.email.lower():
        changed["email"] = ["kept private", "the sign-in's own"]  # the log says that it changed, not which it is
        billing.email = email
    if changed:
        billing.paper, billing.language = chosen.paper, chosen.language
        billing.save(update_fields=["paper", "language", "email"])
        audit("bills.delivery", actor=actor, target=account, detail=changed)
    return billing
