"""The outbox's door: messages are queued in the transaction that causes them; staff see what could not be sent."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from django.db import transaction
from django.utils.translation import gettext as _

from portal.core.clock import now
from portal.core.errors import Refused
from portal.core.public_id import new_public_id
from portal.core.sealing import MESSAGES, seal
from portal.core.services import audit, utility_zone
from portal.notifications.hours import text_time
from portal.notifications.models import Category, Channel, Message

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.db.models import QuerySet

    from portal.core.models import User

ROWS_A_QUERY = 500
TEXT_CHARS_MAX = 1600
"""Twilio takes no longer text."""
REASON_CHARS, REASON_CHARS_MIN = 200, 5
_EMAIL = re.compile(r"[^@\s,;<>]{1,64}@[^@\s,;<>]{1,189}")
_E164 = re.compile(r"\+[1-9][0-9]{6,14}")


@dataclass(frozen=True, slots=True)
class NewEmail:
    """An email to be queued; see Message for the fields.

    subject    without anything personal: it is read over shoulders and on lock screens.
    account    id of the customer's account, None for others; user: id of the person, where they have a sign-in.
    category   what it is about: pages show it, and `alert` and `service` carry a link to the settings in their header.
    at_any_hour  for what the person sits and waits for now: it goes before everything else.
    secret     it holds a link or a code: its text is sealed, and it has no HTML.
    public_id  the message's code, drawn here already so that its text can name it (see `code_text`).
    """

    key: str
    to: str
    subject: str
    text: str
    html: str = ""
    language: str = "en"
    account: int | None = None
    user: int | None = None
    category: Category = Category.ACCOUNT
    attachment: str = ""
    at_any_hour: bool = False
    secret: bool = False
    public_id: str = field(default_factory=new_public_id)


def queue_email(email: NewEmail) -> Message:
    """Queue one email in the caller's transaction and return it; the one that stands when its key was queued before."""
    queue_emails([email])
    return Message.objects.get(key=email.key)


def queue_emails(emails: Sequence[NewEmail]) -> None:
    """Queue emails in the caller's transaction; those whose key was queued before stay as they are.

    raises  Refused(`address`) for one without an address or with a line break in its subject.
    """
    for email in emails:
        if "@" not in email.to or "\n" in email.subject or "\r" in email.subject:
            raise Refused("address", f"{email.key}: an email needs an address, and a subject of one line")
    moment = now()
    rows = [
        Message(
            public_id=email.public_id,
            key=email.key,
            channel=Channel.EMAIL,
            category=email.category,
            account_id=email.account,
            user_id=email.user,
            to=email.to,
            language=email.language,
            subject=email.subject,
            text=seal(email.text, MESSAGES) if email.secret else email.text,
            html="" if email.secret else email.html,
            attachment=email.attachment,
            at_any_hour=email.at_any_hour,
            secret=email.secret,
            queued_at=moment,
            next_try_at=moment,
        )
        for email in emails
    ]
    Message.objects.bulk_create(rows, batch_size=ROWS_A_QUERY, ignore_conflicts=True)


@dataclass(frozen=True, slots=True)
class NewText:
    """A text message to be queued; see Message for the fields. `to` is a number in E.164.

    at_any_hour  for what the person waits for now; everything else waits for the hours in which texts may be sent.
    """

    key: str
    to: str
    text: str
    category: Category
    language: str = "en"
    account: int | None = None
    user: int | None = None
    at_any_hour: bool = False
    secret: bool = False
    public_id: str = field(default_factory=new_public_id)


def queue_texts(texts: Sequence[NewText]) -> None:
    """Queue texts in the caller's transaction; those whose key was queued before stay as they are.

    raises  Refused(`number`) for one whose number is not in E.164.
    """
    moment = now()
    allowed_from = text_time(moment, utility_zone())
    for text in texts:
        if not _E164.fullmatch(text.to):
            raise Refused("number", f"{text.key}: a text needs a number such as +14055550123")
    rows = [
        Message(
            public_id=text.public_id,
            key=text.key,
            channel=Channel.SMS,
            category=text.category,
            account_id=text.account,
            user_id=text.user,
            to=text.to,
            language=text.language,
            text=seal(text.text[:TEXT_CHARS_MAX], MESSAGES) if text.secret else text.text[:TEXT_CHARS_MAX],
            at_any_hour=text.at_any_hour,
            secret=text.secret,
            queued_at=moment,
            next_try_at=moment if text.at_any_hour else allowed_from,
        )
        for text in texts
    ]
    Message.objects.bulk_create(rows, batch_size=ROWS_A_QUERY, ignore_conflicts=True)


def code_text(public_id: str) -> str:
    """Return a message's code as it is printed and read out: `bcdf-ghjk-mnpqr`."""
    return f"{public_id[:4]}-{public_id[4:8]}-{public_id[8:]}"


def failures() -> QuerySet[Message]:
    """Return the messages that were given up, the newest first: somebody must correct an address, or call."""
    return Message.objects.filter(failed_at__isnull=False).order_by("-failed_at", "-pk")


def troubled() -> tuple[int, int]:
    """Return how many messages were given up, and how many did not arrive."""
    return failures().count(), Message.objects.filter(bounced_at__isnull=False).count()


@transaction.atomic
def try_again(
    message: Message, *, actor: User | None = None, label: str = "", to: str = "", reason: str = ""
) -> Message:
    """Put a message that was given up, or did not arrive, back into the queue, to another address if one is given.

    raises  Refused: `sent` when it is on its way or has arrived; `secret` when its text, a code or a link, is not kept;
            `address` when a message of its channel cannot go there.
    """
    row = Message.objects.select_for_update().get(pk=message.pk)
    if row.failed_at is None and row.bounced_at is None:
        raise Refused("sent", _("Only a message that was given up or did not arrive can be sent again."))
    if row.secret:
        raise Refused("secret", _("A code or a link is not kept and cannot be sent again; the person asks anew."))
    if to and not (_E164.fullmatch(to) if row.channel == Channel.SMS else _EMAIL.fullmatch(to)):
        raise Refused("address", _("A message of this kind cannot be sent to that address."))
    row.to = to or row.to
    row.failed_at = row.bounced_at = row.sent_at = row.delivered_at = None
    row.tries, row.next_try_at, row.last_error = 0, now(), ""
    changed = ["to", "failed_at", "bounced_at", "sent_at", "delivered_at", "tries", "next_try_at", "last_error"]
    row.save(update_fields=changed)
    detail = {"address": "changed" if to else "kept"}
    audit("message.retry", actor=actor, label=label, target=row, reason=reason, detail=detail)
    return row


def read_text(message: Message, *, actor: User, reason: str) -> str:
    """Return what a message says, for staff who say why they need it: it is personal, so the look is written down.

    raises  Refused: `reason` without one; `secret` for a code.
    """
    reason = reason.strip()[:REASON_CHARS]
    if len(reason) < REASON_CHARS_MIN:
        raise Refused("reason", _("Say why you need to read it, in a few words."))
    if message.secret:
        raise Refused("secret", _("It held a code or a link, which is not kept."))
    audit("message.look", actor=actor, target=message, reason=reason)
    return message.text
