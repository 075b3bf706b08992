"""Guests who have access to an account: what they may do is changed, their access ends, they leave.

An account holder is out of reach here: only the water office changes who holds an account.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import transaction
from django.utils.translation import gettext as _

from portal.access import guest_letters as letters
from portal.access.invitations import take_back_all_of
from portal.access.levels import may_grant
from portal.core.clock import now
from portal.core.errors import Refused
from portal.core.services import audit
from portal.customers.models import Account, AccountAccess
from portal.customers.permissions import Level, Permission, may
from portal.customers.services import end_access

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from portal.core.models import User


def people_of(account: Account) -> QuerySet[AccountAccess]:
    """Return who has access to an account now, in the order in which they got it."""
    return account.access.filter(ended_at__isnull=True).select_related("user").order_by("granted_at", "pk")


@transaction.atomic
def change_level(access: AccountAccess, level: str, *, actor: User) -> AccountAccess:
    """Change what a guest may do, and tell them; the same level again changes nothing.

    raises  Refused(`not-yours`, `yourself`, `holder`, `level`, `gone`).
    """
    row = _locked(access)
    _refuse(row, actor)
    if not may_grant(actor, row.account, row.level, level):
        raise Refused(
            "level", _("Choose one of the levels shown. Who manages everything is decided by the account holder alone.")
        )
    if row.level == level:
        return row
    before, row.level = row.level, Level(level)
    row.save(update_fields=["level"])
    detail = {"user": row.user.public_id, "from": before, "to": level}
    entry = audit("guest.level", actor=actor, target=row.account, detail=detail)
    if before == Level.MANAGE_ALL:
        take_back_all_of(row.user, row.account, actor=actor)
    letters.tell_of_change(row, event=str(entry.pk))
    return row


@transaction.atomic
def remove(access: AccountAccess, *, actor: User) -> None:
    """End a guest's access, with the invitations that they have sent, and tell them.

    raises  Refused(`not-yours`, `yourself`, `holder`, `level`, `gone`).
    """
    row = _locked(access)
    _refuse(row, actor)
    if not may_grant(actor, row.account, row.level):
        raise Refused("level", _("Only the account holder can do that to somebody who manages everything."))
    letters.tell_of_removal(row, event=_ended(row, actor))


@transaction.atomic
def leave(access: AccountAccess, *, actor: User) -> None:
    """Let a guest give up their own access; raises Refused(`not-yours`, `holder`, `gone`)."""
    row = _locked(access)
    if row.user_id != actor.pk:
        raise Refused("not-yours", _("You can only leave for yourself."))
    _refuse_holder(row)
    letters.tell_holders_of_leaving(row, event=_ended(row, actor))


def _ended(row: AccountAccess, actor: User) -> str:
    """End an access; return what this event is called."""
    end_access(row, at=now(), actor=actor)
    take_back_all_of(row.user, row.account, actor=actor)
    return str(row.pk)


def _locked(access: AccountAccess) -> AccountAccess:
    """Return the access, held until the end of the transaction; raises Refused(`gone`) when it has ended."""
    Account.objects.select_for_update(no_key=True).get(pk=access.account_id)
    row = AccountAccess.objects.select_for_update(of=("self",)).select_related("account", "user").get(pk=access.pk)
    if row.ended_at is not None:
        raise Refused("gone", _("This access has ended already: look at the list."))
    return row


def _refuse(row: AccountAccess, actor: User) -> None:
    if not may(actor, Permission.MANAGE, row.account):
        raise Refused("not-yours", _("You do not manage this account: ask the account holder."))
    if row.user_id == actor.pk:
        raise Refused("yourself", _("You cannot change your own access. Ask the account holder, or leave the account."))
    _refuse_holder(row)


def _refuse_holder(row: AccountAccess) -> None:
    if row.level == Level.HOLDER:
        raise Refused("holder", _("Who holds the account is changed by the water office alone: call us."))
