"""What is held about a person in messages, telephones and texts that came in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.utils.translation import gettext_lazy

from portal.core.personal_data import PersonalData
from portal.notifications.history import messages_for
from portal.notifications.models import Phone, PhoneCode, ReceivedText
from portal.notifications.services import code_text
from portal.notifications.states import standing_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from portal.core.models import User

_Row = dict[str, object]


def _messages(user: User) -> Iterator[_Row]:
    for row in messages_for(user).iterator(chunk_size=200):
        yield {
            "code": code_text(row.public_id),
            "channel": row.channel,
            "category": row.category,
            "to": row.to,
            "subject": row.subject,
            "text": "" if row.secret else row.text,
            "state": standing_of(row).state.value,
            "queued_at": row.queued_at,
            "sent_at": row.sent_at,
            "delivered_at": row.delivered_at,
            "did_not_arrive_at": row.bounced_at,
        }


def _erase_messages(user: User) -> int:
    """Drop what has not gone out; of the rest only that it was sent, when and about what stays."""
    rows = messages_for(user).order_by()
    dropped, _by_model = rows.filter(sent_at__isnull=True).delete()
    emptied = rows.update(to="", subject="", text="", html="", last_error="", user=None)
    return dropped + emptied


def _phones(user: User) -> Iterator[_Row]:
    for row in Phone.objects.filter(user=user):
        yield {
            "number": row.number,
            "verified_at": row.verified_at,
            "consented_at": row.consented_at,
            "consent_text": row.consent_text,
            "consent_language": row.consent_language,
        }


def _erase_phones(user: User) -> int:
    codes, _codes = PhoneCode.objects.filter(user=user).delete()
    phones, _phones_deleted = Phone.objects.filter(user=user).delete()
    return codes + phones


def _received(user: User) -> Iterator[_Row]:
    for row in _texts_of(user):
        yield {"number": row.number, "kind": row.kind, "text": row.text, "received_at": row.received_at}


def _texts_of(user: User) -> list[ReceivedText]:
    """Return the texts from a person's telephone; none where somebody else has proven the same one."""
    phone = Phone.objects.filter(user=user).first()
    if phone is None or Phone.objects.filter(number=phone.number).exclude(pk=phone.pk).exists():
        return []
    return list(ReceivedText.objects.filter(number=phone.number).order_by("received_at"))


def _erase_received(user: User) -> int:
    ids = [row.pk for row in _texts_of(user)]
    return ReceivedText.objects.filter(pk__in=ids).update(text="", number="")


MESSAGES = PersonalData(
    "messages",
    _messages,
    _erase_messages,
    kept=gettext_lazy("That a message was sent, when and about what stays, without its text and your address."),
)
RECEIVED_TEXTS = PersonalData("received-texts", _received, _erase_received)
PHONES = PersonalData(
    "telephones",
    _phones,
    _erase_phones,
    kept=gettext_lazy("A number that said STOP stays on the list of those that get no texts."),
)
