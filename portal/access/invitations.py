"""Household guests who are invited: sent, sent again, taken back, accepted. Who has access: portal.access.guests.

A link carries 256 random bits and works once; the table has only their SHA-256, and a new link voids the one before.
Expiry runs on the machine's own clock. Who may invite whom stands in portal.access.levels.
"""

from __future__ import annotations

import hashlib
import secrets
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from allauth.account.models import EmailAddress
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction
from django.utils.translation import gettext as _

from portal.access import guest_letters as letters
from portal.access.levels import may_grant
from portal.access.models import Invitation
from portal.core.clock import now
from portal.core.errors import Refused
from portal.core.models import AuditEntry
from portal.core.services import audit, utility_settings
from portal.customers.models import Account, AccountAccess
from portal.customers.permissions import Level, Permission, may
from portal.customers.services import grant_access

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from portal.core.models import User

PREFIX = "hwi_"
"""What every token starts with: by it log lines are kept free of them (portal.core.logs)."""
TOKEN_BYTES = 32
OPEN_MAX = 20
SENT_A_DAY_MAX = 10
_DAY = timedelta(days=1)
_INVITED, _SENT_AGAIN = "guest.invited", "guest.sent-again"


def open_invitations(account: Account) -> QuerySet[Invitation]:
    """Return the invitations of an account that were neither accepted nor taken back, expired ones too."""
    found = Invitation.objects.filter(account=account, accepted_at__isnull=True, revoked_at__isnull=True)
    return found.select_related("invited_by").order_by("sent_at", "pk")


@transaction.atomic
def invite(account: Account, email: str, level: str, *, actor: User, site: str = "") -> Invitation:
    """Invite somebody by their email address; who was invited already gets a new link and the level now chosen.

    site    the portal's address for the link, where the utility's settings have none.
    raises  Refused(`not-yours`, `level`, `address`, `has-access`, `too-many`, `too-often`).
    """
    address = _address(email)
    Account.objects.select_for_update(no_key=True).get(pk=account.pk)
    _refuse_level(actor, account, level)
    if _has_access(account, address):
        raise Refused("has-access", _("This person has access already: change in the list below what they may do."))
    standing = open_invitations(account).select_for_update(of=("self",)).filter(email=address).first()
    if standing is not None:
        _refuse_level(actor, account, standing.level)
        standing.level = level
        return _send_again(standing, actor, site)
    if open_invitations(account).count() >= OPEN_MAX:
        raise Refused("too-many", _("Too many invitations are open: take one back that is not needed any more."))
    _refuse_too_often(account)
    token, digest = _new_token()
    moment = datetime.now(UTC)
    row = Invitation.objects.create(
        account=account,
        email=address,
        level=level,
        invited_by=actor,
        token_hash=digest,
        sent_at=moment,
        expires_at=_expiry(moment),
    )
    audit(_INVITED, actor=actor, target=account, detail={"invitation": row.public_id, "level": level})
    letters.send_link(row, token, site=site)
    letters.tell_holders_of_invitation(row, actor)
    return row


@transaction.atomic
def send_again(invitation: Invitation, *, actor: User, site: str = "") -> Invitation:
    """Send an invitation anew: a new link and a new term; the link before is void at once.

    raises  Refused(`not-yours`, `level`, `closed`, `has-access`, `too-often`).
    """
    Account.objects.select_for_update(no_key=True).get(pk=invitation.account_id)
    row = _locked(invitation)
    _refuse_level(actor, row.account, row.level)
    if _has_access(row.account, row.email):
        raise Refused("has-access", _("This person has access already: change in the list below what they may do."))
    return _send_again(row, actor, site)


@transaction.atomic
def take_back(invitation: Invitation, *, actor: User) -> None:
    """Void an invitation; raises Refused(`not-yours`, `level`, `closed`)."""
    row = _locked(invitation)
    _refuse_level(actor, row.account, row.level)
    _void(row, actor)


def take_back_all_of(person: User, account: Account, *, actor: User) -> None:
    """Void what somebody has sent who may not invite any longer; in the caller's transaction."""
    for row in open_invitations(account).select_for_update(of=("self",)).filter(invited_by=person):
        _void(row, actor)


def offered(token: str) -> Invitation | None:
    """Return the invitation that a link stands for; None when it is unknown, used, void or expired alike."""
    return _good(Invitation.objects.select_related("account", "invited_by").filter(token_hash=_digest(token)).first())


@transaction.atomic
def accept(token: str, user: User) -> AccountAccess:
    """Give a person what they were invited to, once; the link proves their address.

    raises  Refused(`invitation`) for a link that is unknown, used, void or expired; Refused(`other-address`) when the
            invitation went to an address that is not this person's.
    """
    found = Invitation.objects.select_for_update(of=("self",)).select_related("account", "invited_by")
    row = _good(found.filter(token_hash=_digest(token)).first())
    if row is None:
        raise Refused(
            "invitation", _("This link does not work any more. Ask whoever invited you to send the invitation again.")
        )
    if not belongs_to(row, user):
        raise Refused(
            "other-address",
            _("This invitation went to another address. Sign out, then open the link again from that address."),
        )
    row.accepted_at, row.accepted_by = datetime.now(UTC), user
    row.save(update_fields=["accepted_at", "accepted_by"])
    if user.email == row.email:
        confirm_address(user)
    access = grant_access(row.account, user, at=now(), level=Level(row.level), actor=user)
    detail = {"invitation": row.public_id, "user": user.public_id, "level": row.level}
    audit("guest.accepted", actor=user, target=row.account, detail=detail)
    letters.tell_of_acceptance(row, user)
    return access


def belongs_to(invitation: Invitation, user: User) -> bool:
    """Tell whether an invitation went to this person: to their address, or to another that they have confirmed."""
    if user.email == invitation.email:
        return True
    return bool(EmailAddress.objects.filter(user=user, email__iexact=invitation.email, verified=True).exists())


def confirm_address(user: User) -> None:
    """Note that a person's own address was proven: they came by a link that was sent there."""
    row, _made = EmailAddress.objects.get_or_create(user=user, email=user.email, defaults={"primary": True})
    if not row.verified:
        row.verified = True
        row.save(update_fields=["verified"])


def _send_again(row: Invitation, actor: User, site: str) -> Invitation:
    _refuse_too_often(row.account)
    token, row.token_hash = _new_token()
    row.sent_at = datetime.now(UTC)
    row.expires_at = _expiry(row.sent_at)
    row.sent_times += 1
    row.invited_by = actor
    row.save(update_fields=["token_hash", "sent_at", "expires_at", "sent_times", "invited_by", "level"])
    detail = {"invitation": row.public_id, "level": row.level, "times": row.sent_times}
    audit(_SENT_AGAIN, actor=actor, target=row.account, detail=detail)
    letters.send_link(row, token, site=site)
    letters.tell_holders_of_invitation(row, actor)
    return row


def _void(row: Invitation, actor: User) -> None:
    row.revoked_at = datetime.now(UTC)
    row.save(update_fields=["revoked_at"])
    audit("guest.taken-back", actor=actor, target=row.account, detail={"invitation": row.public_id})


def _good(row: Invitation | None) -> Invitation | None:
    """Return an invitation that can be accepted now: also its sender must still be one who may give that level."""
    if row is None or row.accepted_at is not None or row.revoked_at is not None:
        return None
    if row.expires_at <= datetime.now(UTC) or not row.invited_by.is_active:
        return None
    return row if may_grant(row.invited_by, row.account, row.level) else None


def _locked(invitation: Invitation) -> Invitation:
    row = Invitation.objects.select_for_update(of=("self",)).select_related("account").get(pk=invitation.pk)
    if row.accepted_at is not None or row.revoked_at is not None:
        raise Refused("closed", _("This invitation was accepted or taken back in the meantime: look at the lists."))
    return row


def _refuse_level(actor: User, account: Account, level: str) -> None:
    if not may(actor, Permission.MANAGE, account):
        raise Refused("not-yours", _("You do not manage this account: ask the account holder."))
    if not may_grant(actor, account, level):
        raise Refused(
            "level", _("Choose one of the levels shown. Who manages everything is decided by the account holder alone.")
        )


def _refuse_too_often(account: Account) -> None:
    """Refuse when the account has sent as many today as it may: what was sent stands in the log of changes."""
    sent = AuditEntry.objects.filter(
        target_type=account._meta.label_lower,
        target_id=account.public_id,
        action__in=(_INVITED, _SENT_AGAIN),
        at__gt=datetime.now(UTC) - _DAY,
    )
    if sent.count() >= SENT_A_DAY_MAX:
        raise Refused("too-often", _("Too many invitations were sent within a day: send this one tomorrow."))


def _has_access(account: Account, email: str) -> bool:
    return AccountAccess.objects.filter(account=account, user__email=email, ended_at__isnull=True).exists()


def _address(email: str) -> str:
    address = email.strip().lower()
    try:
        validate_email(address)
    except ValidationError as error:
        raise Refused("address", _("Write the whole email address, like name@example.org.")) from error
    return address


def _expiry(moment: datetime) -> datetime:
    return moment + timedelta(days=utility_settings().invitation_days)


def _new_token() -> tuple[str, bytes]:
    token = PREFIX + secrets.token_urlsafe(TOKEN_BYTES)
    return token, _digest(token)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
