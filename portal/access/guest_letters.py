"""What is written to guests and account holders: the link, and what has become of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.urls import reverse
from django.utils import translation
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import pgettext

from portal.access.levels import level_words
from portal.core.models import User
from portal.core.public_id import new_public_id
from portal.core.services import utility_settings
from portal.customers.models import Premise
from portal.customers.permissions import Level
from portal.notifications.notify import Channel, Notice, notify, person_language, real_line
from portal.notifications.services import NewEmail, queue_email

if TYPE_CHECKING:
    from collections.abc import Iterable

    from portal.access.models import Invitation
    from portal.customers.models import Account, AccountAccess

_BY_EMAIL = frozenset({Channel.EMAIL})
_NAME_CHARS_MAX = 60
_NOT_IN_A_NAME = ("/", ":", "@", "www.", "\n", "\r")


def name_of(person: User) -> str:
    """Return what a person is called in a letter: their name, or their address when the name could pass for a link."""
    name = " ".join(person.name.split())
    plain = name and len(name) <= _NAME_CHARS_MAX and not any(mark in name.lower() for mark in _NOT_IN_A_NAME)
    return name if plain else person.email


def place_of(account: Account) -> str:
    """Return where an account gets its water, in short: `12 Elm Street`; its number when it lives nowhere yet."""
    places = Premise.objects.filter(service_points__occupancies__account=account)
    found = list(places.order_by("-service_points__occupancies__start").values_list("address", flat=True))
    distinct = list(dict.fromkeys(found))
    if not distinct:
        return account.number
    if len(distinct) == 1:
        return distinct[0]
    return _("%(address)s and %(n)d more") % {"address": distinct[0], "n": len(distinct) - 1}


def send_link(row: Invitation, token: str, *, site: str = "") -> None:
    """Queue the email with the link: in the language of whoever has that address, else in the sender's."""
    utility = utility_settings()
    known = User.objects.filter(email=row.email).exclude(language="").values_list("language", flat=True).first()
    public_id = new_public_id()
    with translation.override(known or translation.get_language() or utility.default_language):
        words = level_words(row.level)
        shown = {
            "who": name_of(row.invited_by),
            "place": place_of(row.account),
            "utility": utility.name,
            "level": words.title,
            "means": words.text,
            "until": date_format(
                row.expires_at.astimezone(utility.zone_info), pgettext("date and time", "F j, Y, g:i A")
            ),
            "link": (utility.portal_url or site).rstrip("/") + reverse("resident:invitation", args=[token]),
        }
        parts = [
            part % shown
            for part in (
                _("%(who)s invites you to a water account at %(utility)s: %(place)s."),
                _("What you will be able to do: %(level)s.\n%(means)s"),
                _("To accept, open this link:\n%(link)s"),
                _(
                    "It works once, until %(until)s. After that ask %(who)s to send it again. "
                    "An earlier link does not work any more."
                ),
                _("You do not know %(who)s, or did not expect this? Then do nothing: without you nothing happens."),
            )
        ]
        queue_email(
            NewEmail(
                key=f"invitation:{row.public_id}:{row.sent_times}",
                to=row.email,
                subject=_("%(utility)s: you are invited to a water account") % shown,
                text="\n\n".join([*parts, real_line(utility, public_id)]) + "\n",
                language=(translation.get_language() or "en")[:2],
                account=row.account_id,
                secret=True,
                public_id=public_id,
            )
        )


def tell_holders_of_invitation(row: Invitation, actor: User) -> None:
    """Tell the account holders that a guest who manages the account has invited somebody."""
    holders = holders_of(row.account)
    if actor in holders:
        return
    for person in holders:
        with person_language(person):
            shown = {
                "who": name_of(actor),
                "guest": row.email,
                "place": place_of(row.account),
                "level": level_words(row.level).title,
            }
            text = _(
                "%(who)s, who manages your account (%(place)s) with you, has invited %(guest)s: %(level)s.\n\n"
                "If you do not want that, take the invitation back in your profile."
            )
            _tell(
                person,
                f"guest-invited:{row.public_id}:{row.sent_times}",
                row.account,
                _("Somebody was invited to your water account"),
                text % shown,
            )


def tell_of_acceptance(row: Invitation, guest: User) -> None:
    """Tell the account holders, and whoever sent the invitation, that a guest has accepted it."""
    people = {person.pk: person for person in [*holders_of(row.account), row.invited_by] if person.pk != guest.pk}
    for person in people.values():
        with person_language(person):
            shown = {
                "who": name_of(guest),
                "address": row.email,
                "place": place_of(row.account),
                "level": level_words(row.level).title,
            }
            text = _(
                "%(who)s (%(address)s) has accepted the invitation to your account (%(place)s): %(level)s.\n\n"
                "You can change or remove their access in your profile at any time."
            )
            _tell(
                person,
                f"guest-accepted:{row.public_id}",
                row.account,
                _("Your guest has accepted the invitation"),
                text % shown,
            )


def tell_of_change(access: AccountAccess, *, event: str) -> None:
    """Tell a guest what they may do from now on; event: what makes this message the only one of its kind."""
    with person_language(access.user):
        words = level_words(access.level)
        shown = {"place": place_of(access.account), "level": words.title, "means": words.text}
        text = _("Your access to the water account of %(place)s was changed.\n\nFrom now on: %(level)s.\n%(means)s")
        _tell(
            access.user,
            f"guest-level:{event}",
            access.account,
            _("Your access to a water account was changed"),
            text % shown,
        )


def tell_of_removal(access: AccountAccess, *, event: str) -> None:
    """Tell a guest that their access has ended."""
    with person_language(access.user):
        text = _(
            "Your access to the water account of %(place)s has ended. Your own sign-in stays.\n\n"
            "If you think that this is a mistake, ask the account holder."
        )
        _tell(
            access.user,
            f"guest-removed:{event}",
            None,
            _("Your access to a water account has ended"),
            text % {"place": place_of(access.account)},
        )


def tell_holders_of_leaving(access: AccountAccess, *, event: str) -> None:
    """Tell the account holders that a guest has left by themselves."""
    for person in holders_of(access.account):
        with person_language(person):
            shown = {"who": name_of(access.user), "place": place_of(access.account)}
            _tell(
                person,
                f"guest-left:{event}",
                access.account,
                _("A guest has left your water account"),
                _("%(who)s has left your account (%(place)s) and sees nothing of it any more.") % shown,
            )


def holders_of(account: Account) -> list[User]:
    """Return the people who hold an account and can sign in."""
    found: Iterable[User] = User.objects.filter(
        account_access__account=account,
        account_access__level=Level.HOLDER,
        account_access__ended_at__isnull=True,
        is_active=True,
    )
    return list(found)


def _tell(person: User, key: str, account: Account | None, subject: str, text: str) -> None:
    notify(
        person,
        Notice(key=key, category="account", subject=subject, text=text, sms="", account=account),
        by=_BY_EMAIL,
    )
