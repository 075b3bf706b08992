"""Sends what is due: each message once, as far as SMTP can promise it.

A message is claimed in a transaction of its own (tries + 1, nobody else's for a while), sent outside any transaction,
and marked as sent. Two workers never hold the same one. Only when a worker dies, or the database goes away, between the
mail server's acceptance and the mark, is it sent again later: SMTP has no way to ask whether it was. Both
copies carry the same Message-ID, by which mail programs show them as one.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parseaddr
from smtplib import SMTPException, SMTPRecipientsRefused, SMTPResponseException, SMTPSenderRefused
from typing import TYPE_CHECKING

from django.conf import settings
from django.core.mail import EmailMultiAlternatives, get_connection
from django.db import connection, transaction
from django.db.models import F

from domain.errors import HeadwaterError
from portal.core.clock import now
from portal.core.services import utility_settings
from portal.notifications.attachments import maker_of
from portal.notifications.models import Category, Channel, Message
from portal.notifications.notify import settings_link

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.core.mail.backends.base import BaseEmailBackend

    from portal.core.models import UtilitySettings

_LOG = logging.getLogger(__name__)
CLAIM = 20
TRIES_MAX = 14
LEASE = timedelta(minutes=15)
"""How long a claimed message is nobody else's: many times what sending CLAIM of them takes."""
FIRST_BACK_OFF, LONGEST_BACK_OFF = timedelta(minutes=1), timedelta(hours=6)
"""1, 2, 4, ... minutes, then every 6 hours: given up after a day and a half."""
_ERROR_CHARS = 200


@dataclass(slots=True)
class Sent:
    """What one call did: sent, to be tried again, given up."""

    sent: int = 0
    later: int = 0
    failed: int = 0


class _ServerAway(Exception):
    """The mail server cannot be reached or lets nobody in: no message is to blame."""


def send_due(moment: datetime | None = None, *, limit: int = 2_000) -> Sent:
    """Send messages whose time has come, at most `limit`; several workers may do so at once.

    moment  only for tests; without it every claim looks at the clock, so that a long call never holds a stale one.
    """
    done = Sent()
    while (room := limit - done.sent - done.later - done.failed) > 0:
        at = moment or now()
        claimed = _claim(at, min(CLAIM, room))
        if not claimed or not _send_all(claimed, at, done):
            break
    return done


def back_off(tries: int) -> timedelta:
    """Return how long to wait after the try number `tries` (from 1)."""
    doubled: timedelta = FIRST_BACK_OFF * (1 << min(tries - 1, 20))
    return min(doubled, LONGEST_BACK_OFF)


def _claim(moment: datetime, most: int) -> list[Message]:
    with transaction.atomic():
        rows = Message.objects.select_for_update(skip_locked=connection.features.has_select_for_update_skip_locked)
        due = rows.filter(channel=Channel.EMAIL, sent_at__isnull=True, failed_at__isnull=True, next_try_at__lte=moment)
        claimed = list(due.order_by("next_try_at", "pk")[:most])
        for message in claimed:
            message.tries += 1
            message.next_try_at = moment + max(LEASE, back_off(message.tries))
        Message.objects.bulk_update(claimed, ["tries", "next_try_at"])
    return claimed


def _send_all(messages: Sequence[Message], moment: datetime, done: Sent) -> bool:
    """Send claimed messages over one connection; False when the server is away: the rest waits, untried."""
    server: BaseEmailBackend = get_connection()
    waiting = list(messages)
    try:
        _open(server)
        while waiting:
            _send_one(waiting.pop(0), server, moment, done)
    except _ServerAway as away:
        _give_back(waiting, moment)
        _LOG.warning("the mail server is away: %s; messages wait", type(away.__cause__).__name__)
        return False
    finally:
        server.close()
    return True


def _open(server: BaseEmailBackend) -> None:
    try:
        server.open()
    except (SMTPException, OSError) as error:
        raise _ServerAway from error


def _send_one(message: Message, server: BaseEmailBackend, moment: datetime, done: Sent) -> None:
    try:
        email = _built(message, server)
    except (HeadwaterError, RuntimeError) as error:
        # What cannot be made today may be made after the next release: RuntimeError is Typst's.
        _missed(message, moment, f"attachment: {error}", permanent=isinstance(error, HeadwaterError), done=done)
        return
    try:
        email.send(fail_silently=False)
    except SMTPRecipientsRefused as error:
        code, text = next(iter(error.recipients.values()))
        _missed(message, moment, _said(code, text), permanent=code >= 500, done=done)
    except SMTPResponseException as error:
        # A refused sender is a fault of the settings, not of the message: it waits until they are corrected.
        permanent = 500 <= error.smtp_code < 600 and not isinstance(error, SMTPSenderRefused)
        _missed(message, moment, _said(error.smtp_code, error.smtp_error), permanent=permanent, done=done)
    except (SMTPException, OSError) as error:
        # Counted, so that a message at which the server always hangs up does not stand in front of the others for ever.
        _missed(message, moment, f"connection lost: {type(error).__name__}", permanent=False, done=done)
        raise _ServerAway from error
    else:
        _mark_sent(message, moment)
        done.sent += 1


def _built(message: Message, server: BaseEmailBackend) -> EmailMultiAlternatives:
    utility = utility_settings()
    domain = parseaddr(settings.DEFAULT_FROM_EMAIL)[1].rpartition("@")[2] or "localhost"
    email = EmailMultiAlternatives(
        subject=message.subject,
        body=message.text,
        to=[message.to],
        reply_to=[utility.contact_email] if utility.contact_email else None,
        headers={
            "Message-ID": f"<{message.public_id}@{domain}>",
            "Auto-Submitted": "auto-generated",
            "Content-Language": message.language,
            **_way_out(message, utility),
        },
        connection=server,
    )
    if message.html:
        email.attach_alternative(message.html, "text/html")
    if message.attachment:
        maker, reference = maker_of(message.attachment)
        made = maker.make(reference)
        email.attach(made.name, made.content, made.media_type)
    return email


def _way_out(message: Message, utility: UtilitySettings) -> dict[str, str]:
    """Return the header by which mail programs offer to end such messages: not for bills and sign-in."""
    link = settings_link(utility) if message.category in (Category.ALERT, Category.SERVICE) else ""
    return {"List-Unsubscribe": f"<{link}>"} if link else {}


def _mark_sent(message: Message, moment: datetime) -> None:
    with transaction.atomic():
        Message.objects.filter(pk=message.pk).update(sent_at=moment, last_error="")
        if message.attachment:
            maker, reference = maker_of(message.attachment)
            maker.sent(reference, moment)


def _missed(message: Message, moment: datetime, error: str, *, permanent: bool, done: Sent) -> None:
    given_up = permanent or message.tries >= TRIES_MAX
    Message.objects.filter(pk=message.pk, sent_at__isnull=True).update(
        failed_at=moment if given_up else None,
        next_try_at=moment + back_off(message.tries),
        last_error=error.replace(message.to, "the address")[:_ERROR_CHARS],
    )
    if given_up:
        done.failed += 1
        _LOG.warning("message %s is given up after %d tries", message.public_id, message.tries)
    else:
        done.later += 1


def _give_back(messages: Sequence[Message], moment: datetime) -> None:
    """Let messages that were claimed and not tried wait a minute: it was no try of theirs."""
    ids = [message.pk for message in messages]
    Message.objects.filter(pk__in=ids, sent_at__isnull=True).update(
        tries=F("tries") - 1, next_try_at=moment + FIRST_BACK_OFF, last_error="the mail server was away"
    )


def _said(code: int, text: bytes | str) -> str:
    words = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    return f"{code} {' '.join(words.split())}"
