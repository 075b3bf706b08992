"""What is written about sign-ins to an account: to its holders, to its address of record, to the office."""

from __future__ import annotations

from typing import TYPE_CHECKING

from allauth.account.models import EmailAddress
from django.db.models import F
from django.urls import reverse
from django.utils import translation
from django.utils.translation import gettext as _

from portal.access.guest_letters import name_of, place_of
from portal.billing.letters import write_letter
from portal.core.public_id import new_public_id
from portal.core.services import audit, utility_settings
from portal.customers.models import AccountAccess
from portal.customers.permissions import Level
from portal.notifications.notify import Channel, Notice, notify, person_language, real_line
from portal.notifications.services import NewEmail, queue_email

if TYPE_CHECKING:
    from datetime import date

    from portal.core.models import User
    from portal.customers.models import Account


def tell_of_new_sign_in(account: Account, newcomer: User) -> None:
    """Tell those who hold an account that another sign-in was linked to it with a bill."""
    holders = AccountAccess.objects.filter(account=account, level=Level.HOLDER, ended_at__isnull=True)
    utility = utility_settings()
    event = new_public_id()
    for access in holders.exclude(user=newcomer).select_related("user"):
        with person_language(access.user):
            shown = {"who": name_of(newcomer), "place": place_of(account), "phone": utility.contact_phone}
            text = _(
                "%(who)s has proved with the most recent bill that your water account (%(place)s) is theirs as well. "
                "From now on their sign-in shows its water use and its bills, as yours does."
            )
            call = _("If you do not know who this is, call us: %(phone)s.") if utility.contact_phone else ""
            notice = Notice(
                key=f"linked:{event}",
                category="account",
                subject=_("another sign-in was linked to your account"),
                text="\n\n".join(part % shown for part in (text, call) if part),
                sms="",
                account=account,
                link=reverse("resident:accounts"),
            )
            notify(access.user, notice, by=frozenset({Channel.EMAIL}))


def tell_address_of_record(account: Account, newcomer: User, *, address: str, language: str) -> None:
    """Tell the address to which the bills of an account went that a sign-in was linked to it, unless it knows.

    So does a customer learn of it who has no sign-in: whoever knows a number and a date may not be the customer.
    """
    holders = AccountAccess.objects.filter(account=account, level=Level.HOLDER, ended_at__isnull=True)
    theirs = EmailAddress.objects.filter(verified=True, user__in=holders.values("user"), email=F("user__email"))
    known = {newcomer.email.lower(), *(email.lower() for email in theirs.values_list("email", flat=True))}
    if not address or address.lower() in known:
        return
    utility, public_id = utility_settings(), new_public_id()
    with translation.override(language or utility.default_language):
        shown = {"who": name_of(newcomer), "place": place_of(account), "phone": utility.contact_phone}
        text = _(
            "%(who)s has proved with the most recent bill that the water account of %(place)s is theirs, and made a "
            "sign-in for it. The sign-in shows its water use and its bills."
        )
        call = _("If you do not know who this is, call us: %(phone)s.") if utility.contact_phone else ""
        said = [part % shown for part in (text, call) if part]
        queue_email(
            NewEmail(
                key=f"linked:{public_id}:record",
                to=address,
                subject=_("A sign-in was linked to your water account"),
                text="\n\n".join([*said, real_line(utility, public_id), utility.name]) + "\n",
                language=(translation.get_language() or "en")[:2],
                account=account.pk,
                public_id=public_id,
            )
        )


def tell_home(access: AccountAccess, *, language: str) -> None:
    """Tell a home that no email reached by mail that a sign-in was linked to its account, with the next paper bills."""
    with translation.override(language or utility_settings().default_language):
        place = place_of(access.account)
    write_letter(access, place=place, actor=access.user)


def tell_office_of_sweep(day: date) -> None:
    """Tell the utility that somebody tries one account number after the other; called once a day at most."""
    utility, public_id = utility_settings(), new_public_id()
    audit("registration.sweep", label="registration", detail={"day": str(day)})
    if not utility.contact_email:
        return
    with translation.override(utility.default_language):
        text = _(
            "On %(day)s many tries to register failed: from one network, or with the date of a bill and no amount. "
            "Somebody may be walking through account numbers. That network is refused until tomorrow; when the date "
            "alone was tried too often, only the amount proves an account until tomorrow.\n\n"
            "Nothing has to be done. Look at the accounts that were linked today if you see this more than once."
        )
        queue_email(
            NewEmail(
                key=f"registration-sweep:{day}",
                to=utility.contact_email,
                subject=_("Somebody tries many account numbers"),
                text=f"{text % {'day': str(day)}}\n\n{real_line(utility, public_id)}\n",
                language=(translation.get_language() or "en")[:2],
                public_id=public_id,
            )
        )
