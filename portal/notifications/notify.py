"""The door for messages to people: one notice, queued for each channel by which the person can be reached."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from allauth.account.models import EmailAddress
from django.conf import settings
from django.template.loader import render_to_string
from django.urls import NoReverseMatch, reverse
from django.utils import translation
from django.utils.translation import gettext as _

from portal.core.public_id import new_public_id
from portal.core.services import utility_settings
from portal.notifications.models import BadAddress, Category, Channel, Message
from portal.notifications.phones import phone_of
from portal.notifications.services import NewEmail, NewText, code_text, queue_emails, queue_texts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from portal.core.models import User, UtilitySettings
    from portal.customers.models import Account

__all__ = ["Category", "Channel", "Notice", "language_of", "notify", "person_language", "real_line"]

BY_EMAIL = frozenset({Channel.EMAIL})
EVERY_WAY = frozenset(Channel)


@dataclass(frozen=True, slots=True)
class Notice:
    """What a person is told, in their own language (make it inside `person_language`).

    key       unique reason for being, such as `leak:PUBLIC_ID:2026-11-23`: said once to a person, however often asked.
    category  `alert`, `bill`, `account` or `service`.
    subject   of the email, one line without anything personal: it is read over shoulders and on lock screens.
    text      of the email, plain paragraphs; greeting, link, code and the line to the settings are added.
    sms       of the text, without the utility's name, the link, the code and STOP, which are added: one short sentence.
    link      a path of the portal (`/alerts/...`); it becomes a whole address when the utility has one.
    """

    key: str
    category: str
    subject: str
    text: str
    sms: str
    account: Account | None = None
    link: str = ""


def notify(person: User, notice: Notice, *, by: frozenset[Channel]) -> list[Message]:
    """Queue a notice in the caller's transaction by every channel asked for that reaches the person.

    by       channels wanted; email needs a verified address, SMS a verified telephone with standing consent.
    returns  the messages of this notice to this person, those queued before by the same key included.
    raises   Refused(`address`) for a subject of more than one line.
    """
    if not person.is_active:
        return []
    utility = utility_settings()
    with person_language(person, utility):
        keys = []
        if Channel.EMAIL in by and (address := _address_of(person, notice.category)):
            keys.append(_key(notice, person, Channel.EMAIL))
            queue_emails([_email(person, notice, address, utility, keys[-1])])
        if Channel.SMS in by and (phone := phone_of(person)):
            keys.append(_key(notice, person, Channel.SMS))
            queue_texts([_text(person, notice, phone.number, utility, keys[-1])])
    return list(Message.objects.filter(key__in=keys).order_by("channel"))


def language_of(person: User, utility: UtilitySettings | None = None) -> str:
    """Return the language of messages to a person: the one they chose, else the utility's."""
    offered = {code for code, _name in settings.LANGUAGES}
    wanted = (person.language, (utility or utility_settings()).default_language)
    return next((code for code in wanted if code in offered), settings.LANGUAGE_CODE)


@contextmanager
def person_language(person: User, utility: UtilitySettings | None = None) -> Iterator[str]:
    """Make texts in a person's language while this lasts."""
    language = language_of(person, utility)
    with translation.override(language):
        yield language


def site_link(utility: UtilitySettings, path: str) -> str:
    """Return the whole address of a path, empty when the utility has not said where its portal is."""
    return f"{utility.portal_url.rstrip('/')}{path}" if utility.portal_url and path else ""


def real_line(utility: UtilitySettings, public_id: str) -> str:
    """Return the last line of a letter that is no notice: its code, and whom to call when in doubt."""
    if not utility.contact_phone:
        return _("Code of this message: %(code)s") % {"code": code_text(public_id)}
    shown = {"phone": utility.contact_phone, "code": code_text(public_id)}
    return _("Is this message real? Call us at %(phone)s and give its code: %(code)s") % shown


def settings_link(utility: UtilitySettings) -> str:
    """Return the address of the page where a person chooses their messages."""
    for name in ("resident:notifications", "resident:messages", "resident:home"):
        try:
            return site_link(utility, reverse(name))
        except NoReverseMatch:
            continue
    return ""


def _key(notice: Notice, person: User, channel: Channel) -> str:
    return f"{notice.key}:{person.public_id}:{channel.value}"


def _address_of(person: User, category: str) -> str:
    """Return a person's verified address; one that messages come back from only for what concerns their sign-in."""
    verified = EmailAddress.objects.filter(user=person, email=person.email, verified=True).exists()
    if not verified:
        return ""
    came_back = category != Category.ACCOUNT and BadAddress.objects.filter(email=person.email).exists()
    return "" if came_back else person.email


def _email(person: User, notice: Notice, address: str, utility: UtilitySettings, key: str) -> NewEmail:
    public_id = new_public_id()
    language = translation.get_language() or settings.LANGUAGE_CODE
    context = {
        "language": language,
        "utility": utility.name,
        "heading": notice.subject[:1].upper() + notice.subject[1:],
        "text": notice.text.strip(),
        "link": site_link(utility, notice.link),
        "site": utility.portal_url,
        "real": site_link(utility, "/message/"),
        "settings": "" if notice.category == Category.ACCOUNT else settings_link(utility),
        "phone": utility.contact_phone,
        "code": code_text(public_id),
    }
    return NewEmail(
        key=key,
        to=address,
        subject=f"{utility.name}: {notice.subject}",
        text=render_to_string("notifications/notice.txt", context).strip() + "\n",
        html=render_to_string("notifications/notice.html", context),
        language=language,
        account=notice.account.pk if notice.account else None,
        user=person.pk,
        category=Category(notice.category),
        public_id=public_id,
    )


def _text(person: User, notice: Notice, number: str, utility: UtilitySettings, key: str) -> NewText:
    public_id = new_public_id()
    link = site_link(utility, notice.link)
    parts = [
        f"{utility.name}: {' '.join(notice.sms.split())}",
        link,
        _("Code %(code)s.") % {"code": code_text(public_id)},
        _("Reply STOP to end texts."),
    ]
    return NewText(
        key=key,
        to=number,
        text=" ".join(part for part in parts if part),
        language=translation.get_language() or settings.LANGUAGE_CODE,
        account=notice.account.pk if notice.account else None,
        user=person.pk,
        category=Category(notice.category),
        public_id=public_id,
    )
