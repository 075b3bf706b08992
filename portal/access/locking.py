"""What staff do with somebody's sign-in: lock and unlock it, take things off it. They never see a password.

Everything needs a reason, is written down, and is told to the person by email and text. Nobody does it to themselves;
to others of the staff, and to a second factor, only with the permission `core.change_user`; to a superuser only a
superuser.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from django.db import transaction
from django.utils.translation import gettext as _

from portal.access.invitations import take_back_all_of
from portal.access.looking import checked_reason
from portal.access.registration import unlink
from portal.access.sign_ins import end_sessions
from portal.core.errors import Refused
from portal.core.models import User
from portal.core.services import audit, utility_settings
from portal.customers.permissions import Level
from portal.notifications.notify import EVERY_WAY, Category, Notice, notify, person_language

if TYPE_CHECKING:
    from collections.abc import Callable

    from portal.customers.models import Account

CHANGE_USERS = "core.change_user"
"""Django's permission to lock other staff and to take off a second factor; superusers have it."""


@transaction.atomic
def lock(person: User, *, actor: User, reason: str) -> None:
    """Lock somebody out: no sign-in, no API token, every session ended; what they may see stays as it is.

    raises  Refused(`reason`, `own`, `permission`, `locked`).
    """
    row = _theirs(person, actor)
    reason = checked_reason(reason)
    if not row.is_active:
        raise Refused("locked", _("This sign-in is locked already."))
    entry = audit("person.lock", actor=actor, target=row, reason=reason)
    # Before it is locked: nobody writes to people who cannot sign in, but of this they must know.
    _tell(
        row,
        entry.pk,
        lambda: _("Your sign-in was locked"),
        lambda: _(
            "The utility has locked your sign-in. Nobody can sign in with it until it is unlocked; your water, your "
            "bills and your account are not affected. If you did not expect this, call us."
        ),
    )
    row.is_active = False
    row.save(update_fields=["is_active"])
    end_sessions(row, actor=actor)


@transaction.atomic
def unlock(person: User, *, actor: User, reason: str) -> None:
    """Let somebody sign in again; sessions that were ended stay ended. raises as `lock`."""
    row = _theirs(person, actor)
    reason = checked_reason(reason)
    if row.is_active:
        raise Refused("locked", _("This sign-in is not locked."))
    row.is_active = True
    row.save(update_fields=["is_active"])
    entry = audit("person.unlock", actor=actor, target=row, reason=reason)
    _tell(
        row,
        entry.pk,
        lambda: _("Your sign-in works again"),
        lambda: _("The utility has unlocked your sign-in. You can sign in with your password as before."),
    )


@transaction.atomic
def remove_second_factor(person: User, *, actor: User, reason: str, identity_checked: bool) -> None:
    """Take the authenticator app, the passkeys and the recovery codes off a sign-in, and end its sessions.

    raises  Refused(`reason`, `own`, `permission`), `identity` unless staff say that they know who asked, `none` when
            there is no second factor.
    """
    row = _theirs(person, actor)
    if not actor.has_perm(CHANGE_USERS):
        raise Refused("permission", _("You need the permission to change users for that. Ask an administrator."))
    reason = checked_reason(reason)
    if not identity_checked:
        raise Refused("identity", _("Check first who is asking, then say that you did."))
    removed, _rows = Authenticator.objects.filter(user=row).delete()
    if not removed:
        raise Refused("none", _("This sign-in has no second factor."))
    entry = audit("person.second-factor.remove", actor=actor, target=row, reason=reason)
    _tell(
        row,
        entry.pk,
        lambda: _("Your second step of signing in was removed"),
        lambda: _(
            "The utility has removed the second step of your sign-in (authenticator app, passkeys and recovery codes) "
            "after somebody asked for it in your name. If that was not you, call us at once. You can set it up again "
            "in your profile."
        ),
    )
    end_sessions(row, actor=actor)


@transaction.atomic
def take_account(person: User, account: Account | None, *, actor: User, reason: str) -> None:
    """Take an account off a sign-in that should not hold it.

    raises  Refused(`reason`, `own`, `permission`), `account` when the sign-in does not hold it.
    """
    row = _theirs(person, actor)
    reason = checked_reason(reason)
    if account is None or not row.account_access.filter(account=account, level=Level.HOLDER, ended_at=None).exists():
        raise Refused("account", _("Choose an account that this sign-in holds."))
    unlink(row, account, actor=actor, reason=reason)
    take_back_all_of(row, account, actor=actor)
    entry = audit("person.account.take", actor=actor, target=row, reason=reason, detail={"account": account.public_id})
    _tell(
        row,
        entry.pk,
        lambda: _("A water account was taken off your sign-in"),
        lambda: _(
            "The utility has taken a water account off your sign-in: you see nothing of it any more. Your sign-in "
            "stays. If you think that this is a mistake, call us."
        ),
    )


@transaction.atomic
def note_reset(person: User, *, actor: User) -> User:
    """Write down that staff have a link to a new password sent to somebody; return who gets it.

    raises  Refused(`own`, `permission`, `locked`), `address` when the person has not confirmed their address.
    """
    row = _theirs(person, actor)
    if not row.is_active:
        raise Refused("locked", _("This sign-in is locked. Unlock it first."))
    if not EmailAddress.objects.filter(user=row, email=row.email, verified=True).exists():
        raise Refused("address", _("The address of this sign-in is not confirmed: no link is sent to it."))
    audit("person.password.reset-link", actor=actor, target=row)
    return row


def _theirs(person: User, actor: User) -> User:
    """Return the row of somebody to whom an actor may do something, locked for the transaction."""
    row = User.objects.select_for_update().get(pk=person.pk)
    if not actor.is_staff:
        raise Refused("permission", _("Only staff may do that."))
    if row.pk == actor.pk:
        raise Refused("own", _("That is your own sign-in. Ask somebody else."))
    if row.is_superuser and not actor.is_superuser:
        raise Refused("permission", _("Only a superuser may change a superuser's sign-in."))
    if row.is_staff and not actor.has_perm(CHANGE_USERS):
        raise Refused("permission", _("You need the permission to change users for that. Ask an administrator."))
    return row


def _tell(person: User, entry: int, subject: Callable[[], str], text: Callable[[], str]) -> None:
    utility = utility_settings()
    with person_language(person, utility):
        words = text()
        if utility.contact_phone:
            words += "\n\n" + _("You reach us at %(phone)s.") % {"phone": utility.contact_phone}
        notice = Notice(f"person:{entry}", Category.ACCOUNT, subject(), words, subject())
    notify(person, notice, by=EVERY_WAY)
