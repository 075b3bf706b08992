"""A person ends their login: access, sessions and personal rows go; bills, ledger and reads of the meter stay."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.db import transaction
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import pgettext

from portal.access.sign_ins import end_sessions
from portal.billing.preferences import paper_instead_of
from portal.core.clock import now
from portal.core.errors import Refused
from portal.core.models import User
from portal.core.personal_data import personal_data
from portal.core.public_id import new_public_id
from portal.core.services import audit, utility_settings
from portal.customers.models import Account, AccountAccess
from portal.customers.services import end_access
from portal.notifications.notify import person_language, real_line
from portal.notifications.services import NewEmail, queue_email

if TYPE_CHECKING:
    from django.db.models import QuerySet

FAREWELL = "farewell:"
"""How the key of the last letter begins: its address goes when it was sent (`portal.downloads.retention`)."""
GONE = "gone.invalid"
"""The domain of the address that stands in for the person's own; nothing is ever sent there (RFC 2606)."""


def held_alone(user: User) -> QuerySet[Account]:
    """Return the accounts of which the person is the only holder: nobody gets their alerts any more."""
    holders = AccountAccess.objects.filter(level=AccountAccess.Level.HOLDER, ended_at__isnull=True)
    shared = holders.exclude(user=user).values("account")
    return Account.objects.filter(pk__in=holders.filter(user=user).values("account")).exclude(pk__in=shared)


@transaction.atomic
def delete_login(user: User) -> dict[str, int]:
    """End a person's login for ever and take away what is personal; return how many rows of each kind were touched.

    The row of the user stays, without a name or address: the log of who did what names it by its opaque id.
    raises  Refused(`staff`) for the utility's own staff, whose logins an administrator ends.
    """
    row = User.objects.select_for_update().get(pk=user.pk)
    if row.is_staff or row.is_superuser:
        raise Refused("staff", _("Sign-ins of staff are ended by an administrator."))
    if not row.is_active:
        raise Refused("gone", _("This sign-in has ended already."))
    letter = _farewell(row)
    on_paper = paper_instead_of(row.email, actor=row)
    touched = {kind.name: kind.erase(row) for kind in personal_data()}
    for access in AccountAccess.objects.filter(user=row, ended_at__isnull=True):
        end_access(access, at=now(), actor=row)
    touched["bills-on-paper"] = on_paper
    touched["sessions"] = end_sessions(row, actor=row)
    for model in (UserSession, EmailAddress, Authenticator):
        model.objects.filter(user=row).delete()
    _empty(row)
    audit("person.left", actor=row, target=row, detail=touched)
    queue_email(letter)
    return touched


def _empty(row: User) -> None:
    row.email = f"{row.public_id}@{GONE}"
    row.username, row.name, row.language, row.phone_given, row.last_login = None, "", "", "", None
    row.is_active = False
    row.set_unusable_password()
    row.save()


def _farewell(user: User) -> NewEmail:
    with person_language(user):
        utility, public_id = utility_settings(), new_public_id()
        text = _(
            "Your sign-in to the portal of %(utility)s was deleted on %(day)s, as you asked.\n\n"
            "Alerts to you have stopped. Bills that came to you by email come on paper from now on. Bills and the "
            "readings of the meter stay with the utility, as the law requires.\n\n"
            "If it was not you, call us at once: %(phone)s"
        )
        said = text % {
            "utility": utility.name,
            "day": date_format(datetime.now(utility.zone_info), pgettext("date", "F j, Y")),
            "phone": utility.contact_phone or utility.contact_email,
        }
        return NewEmail(
            key=f"{FAREWELL}{user.public_id}:{int(datetime.now(UTC).timestamp())}",
            to=user.email,
            subject=_("Your sign-in was deleted"),
            text=f"{said}\n\n{real_line(utility, public_id)}\n",
            language=(user.language or "en")[:2],
            public_id=public_id,
        )
