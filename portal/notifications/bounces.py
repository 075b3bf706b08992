"""Addresses from which messages come back: marked by staff or by a delivery report, cleared by their owner.

An address that is marked gets nothing but what concerns its sign-in. The person sees it on their pages and has a link
sent to it: whoever can open that link reads the address again.
"""

from __future__ import annotations

from dataclasses import dataclass
from email import policy
from email.message import Message as Mail
from email.parser import BytesParser
from email.utils import parseaddr
from typing import TYPE_CHECKING

from django.core import signing
from django.db import transaction
from django.urls import reverse
from django.utils.translation import gettext as _

from portal.core.clock import now
from portal.core.errors import Refused
from portal.core.prepared import Prepared
from portal.core.services import audit
from portal.notifications.attachments import tell_lost
from portal.notifications.models import BadAddress, Channel, Message

if TYPE_CHECKING:
    from allauth.account.models import EmailAddress

    from portal.core.models import User

_REASON_CHARS = 200
_SALT = "portal.notifications.address"
LINK_GOOD_FOR_S = 3 * 86_400
REPORT_BYTES_MAX = 2_000_000


@dataclass(frozen=True, slots=True)
class Bounce:
    """What a delivery report said of one message.

    known      whether it is one of ours, to that address. permanent: it will not arrive; else the mail server tries on.
    """

    public_id: str
    known: bool
    permanent: bool
    reason: str


def is_bad(address: str) -> bool:
    """Tell whether messages to an address come back and its owner has not confirmed it since."""
    return bool(BAD_ADDRESS(address.lower()))


BAD_ADDRESS: Prepared[str] = Prepared(
    lambda address: BadAddress.objects.filter(email=address).values_list("email", flat=True)
)


def bad_addresses() -> frozenset[str]:
    """Return every address from which messages come back, in lower case: few among thousands."""
    return frozenset(BadAddress.objects.values_list("email", flat=True))


@transaction.atomic
def mark_bad(address: str, reason: str, *, actor: User | None = None, label: str = "") -> BadAddress:
    """Send no more messages to an address, until its owner confirms it again.

    raises  Refused(`address`) for what is none.
    """
    if "@" not in address:
        raise Refused("address", _("Write an email address."))
    row, fresh = BadAddress.objects.get_or_create(
        email=address.strip().lower(), defaults={"since": now(), "reason": reason[:_REASON_CHARS]}
    )
    if fresh:
        audit("address.bad", actor=actor, label=label, target=row, reason=reason[:_REASON_CHARS])
    return row


@transaction.atomic
def clear_bad(address: str, *, actor: User | None = None, label: str = "") -> bool:
    """Send messages to an address again; False when it was not marked."""
    row = BadAddress.objects.select_for_update().filter(email=address.strip().lower()).first()
    if row is None:
        return False
    audit("address.good", actor=actor, label=label, target=row)
    row.delete()
    return True


def clear_when_confirmed(*, email_address: EmailAddress, **_signal: object) -> None:
    """Send messages to an address again when its owner confirms it in any other way, such as after a change."""
    clear_bad(email_address.email, actor=email_address.user)


def send_link(person: User) -> None:
    """Send a person the link by which they show that they read their address; at most one an hour of the clock."""
    from portal.notifications.notify import BY_EMAIL, Notice, notify, person_language

    with person_language(person):
        notice = Notice(
            key=f"address-link:{now():%Y-%m-%d-%H}",
            category="account",
            subject=_("confirm your email address"),
            text=_("Messages to this address came back. If you read this, open the link: then they come here again."),
            sms="",
            link=reverse("resident:address-back", args=[signing.dumps([person.public_id, person.email], salt=_SALT)]),
        )
        notify(person, notice, by=BY_EMAIL)


def address_of_link(token: str) -> str:
    """Return the address that a link confirms; raises Refused(`link`) for one that is forged or too old."""
    try:
        _person, address = signing.loads(token, salt=_SALT, max_age=LINK_GOOD_FOR_S)
    except (signing.BadSignature, ValueError, TypeError) as error:
        raise Refused("link", _("This link is no longer good. Have another one sent to you.")) from error
    return str(address)


@transaction.atomic
def take_report(report: bytes, *, label: str) -> list[Bounce]:
    """Apply a delivery status notification (RFC 3464) as a mail server hands it over; again changes nothing.

    A permanent failure marks the message as one that did not arrive, and its address as bad; a delay changes nothing.
    A report counts only for a message of ours by its Message-ID, to the very address that the report names.

    raises  Refused(`report`) for what is no delivery report, or is too long.
    """
    if len(report) > REPORT_BYTES_MAX:
        raise Refused("report", "a delivery report of more than 2 MB is not read")
    mail = BytesParser(policy=policy.default).parsebytes(report)
    status = next((part for part in mail.walk() if part.get_content_type() == "message/delivery-status"), None)
    if status is None:
        raise Refused("report", "this is no delivery status notification (no message/delivery-status part)")
    public_id = _message_code(mail)
    blocks = [block for block in status.get_payload() if isinstance(block, Mail)]
    return [
        _one(public_id, block, label) for block in blocks if block["Final-Recipient"] or block["Original-Recipient"]
    ]


def _one(public_id: str, block: Mail, label: str) -> Bounce:
    """Apply what a report says of one recipient."""
    permanent = str(block["Action"] or "").strip().lower() == "failed"
    said = str(block["Diagnostic-Code"] or block["Status"] or "no reason given")
    addresses = {_address(block["Original-Recipient"]), _address(block["Final-Recipient"])} - {""}
    rows = Message.objects.select_for_update().filter(public_id=public_id, channel=Channel.EMAIL)
    row = rows.first() if public_id else None
    known = row is not None and row.to.lower() in addresses
    reason = " ".join(said.split())
    for address in addresses:
        reason = reason.replace(address, "the address")
    if row is not None and known and permanent and row.bounced_at is None:
        _came_back(row, reason[:_REASON_CHARS], label)
        mark_bad(row.to, reason, label=label)
    return Bounce(public_id, known, permanent, reason[:_REASON_CHARS])


def _came_back(row: Message, reason: str, label: str) -> None:
    row.bounced_at, row.last_error = now(), reason
    row.save(update_fields=["bounced_at", "last_error"])
    tell_lost(row.attachment, row.bounced_at, label)


def _address(field: str | None) -> str:
    """Return the address in `rfc822; ana@example.org`, in lower case."""
    return parseaddr(str(field or "").rpartition(";")[2].strip())[1].lower()


def _message_code(mail: Mail) -> str:
    """Return our code out of the returned message's Message-ID: `<CODE@city.example>`; empty without one."""
    for part in mail.walk():
        if part.get_content_type() == "message/rfc822":
            inner = part.get_payload(0)
            found = inner["Message-ID"] if isinstance(inner, Mail) else None
        elif part.get_content_type() == "text/rfc822-headers":
            held = part.get_payload(decode=True)
            found = BytesParser(policy=policy.default).parsebytes(held if isinstance(held, bytes) else b"")[
                "Message-ID"
            ]
        else:
            continue
        if found:
            return str(found).strip().strip("<>").partition("@")[0]
    return ""
