"""What is written to account holders about sign-ins to their account."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.urls import reverse
from django.utils.translation import gettext as _

from portal.access.guest_letters import name_of, place_of
from portal.core.public_id import new_public_id
from portal.core.services import utility_settings
from portal.customers.models import AccountAccess
from portal.customers.permissions import Level
from portal.notifications.notify import Channel, Notice, notify, person_language

if TYPE_CHECKING:
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
