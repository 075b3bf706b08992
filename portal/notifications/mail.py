"""Email through the mail server of the settings: Django's backends, their answers sorted into now, later and never."""

from __future__ import annotations

import re
from email.utils import parseaddr
from smtplib import SMTPException, SMTPRecipientsRefused, SMTPResponseException, SMTPSenderRefused
from typing import TYPE_CHECKING

from django.conf import settings
from django.core.mail import EmailMultiAlternatives, get_connection

from domain.errors import HeadwaterError
from portal.core.services import utility_settings
from portal.notifications.attachments import maker_of
from portal.notifications.bounces import is_bad
from portal.notifications.carriers import CarrierAway, NotTaken
from portal.notifications.models import Category, Message
from portal.notifications.notify import settings_link

if TYPE_CHECKING:
    from django.core.mail.backends.base import BaseEmailBackend

    from portal.core.models import UtilitySettings


_NOBODY = re.compile(r"\b5\.(1\.(1|2|3|6|10)|2\.1)\b")
"""RFC 3463: no such mailbox, host or syntax, moved, a null MX; disabled. A refusal for any other reason may be ours."""


class MailCarrier:
    """One connection to the mail server."""

    def __init__(self) -> None:
        self._server: BaseEmailBackend = get_connection()

    def open(self) -> None:
        """Connect."""
        try:
            self._server.open()
        except (SMTPException, OSError) as error:
            raise CarrierAway(f"the mail server is away: {type(error).__name__}") from error

    def carry(self, message: Message) -> str:
        """Hand one email over; mail servers give it no id that we could ask for later."""
        if message.category != Category.ACCOUNT and is_bad(message.to):
            raise NotTaken("messages to this address come back; its owner has to confirm it again", permanent=True)
        try:
            email = _built(message, self._server)
        except (HeadwaterError, RuntimeError) as error:
            # What cannot be made today may be made after the next release: RuntimeError is Typst's.
            raise NotTaken(f"attachment: {error}", permanent=isinstance(error, HeadwaterError)) from error
        try:
            email.send(fail_silently=False)
        except SMTPRecipientsRefused as error:
            code, text = next(iter(error.recipients.values()))
            said = _said(code, text)
            raise NotTaken(said, permanent=code >= 500, nobody=_NOBODY.search(said) is not None) from error
        except SMTPResponseException as error:
            # A refused sender is a fault of the settings, not of the message: it waits until they are corrected.
            permanent = 500 <= error.smtp_code < 600 and not isinstance(error, SMTPSenderRefused)
            raise NotTaken(_said(error.smtp_code, error.smtp_error), permanent=permanent) from error
        except (SMTPException, OSError) as error:
            # Counted, so that a message at which the server always hangs up does not stand in front of the others.
            raise NotTaken(f"connection lost: {type(error).__name__}", permanent=False, away=True) from error
        return ""

    def close(self) -> None:
        """Disconnect."""
        self._server.close()


def message_domain() -> str:
    """Return the domain in our Message-IDs: that of the sender."""
    return parseaddr(settings.DEFAULT_FROM_EMAIL)[1].rpartition("@")[2] or "localhost"


def _built(message: Message, server: BaseEmailBackend) -> EmailMultiAlternatives:
    utility = utility_settings()
    email = EmailMultiAlternatives(
        subject=message.subject,
        body=message.says,
        to=[message.to],
        reply_to=[utility.contact_email] if utility.contact_email else None,
        headers={
            "Message-ID": f"<{message.public_id}@{message_domain()}>",
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


def _said(code: int, text: bytes | str) -> str:
    words = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    return f"{code} {' '.join(words.split())}"
