"""Brings bills to customers: by email unless paper was asked for, queued in the transaction that issues them.

An account that can be reached by neither an address of its own nor its holder's verified one gets paper, and so does
one from whose addresses messages come back: a bill that nobody received is no bill. One whose email comes back, or is
given up, goes on paper after all, with the next bills that are printed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from allauth.account.models import EmailAddress
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import translation
from django.utils.translation import gettext as _

from portal.billing.documents import figures
from portal.billing.documents.facts import facts_for
from portal.billing.documents.words import LANGUAGES, Pair
from portal.billing.models import Bill, BillDelivery, BillingAccount
from portal.core.clock import now
from portal.core.errors import Refused
from portal.core.public_id import new_public_id
from portal.core.services import audit
from portal.customers.models import AccountAccess
from portal.notifications.attachments import Attached, Maker, register
from portal.notifications.bounces import bad_addresses
from portal.notifications.models import Category, Message
from portal.notifications.services import NewEmail, code_text, queue_emails

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from portal.billing.documents.facts import BillFacts

ROWS_A_QUERY = 500
ATTACHMENT = "bill-pdf"
_TO_CHARS = 254


@dataclass(frozen=True, slots=True)
class SentBill:
    """How a bill went out, for its page.

    to    the address with its middle hidden, or empty for paper. code: of the message, as it stands in it.
    """

    channel: str
    to: str
    queued_at: datetime
    done_at: datetime | None
    code: str
    failed: bool


def deliver(bill: Bill) -> None:
    """Queue one issued bill, in the transaction that issues it; again changes nothing."""
    deliver_many([bill])


def deliver_many(bills: Sequence[Bill]) -> None:
    """Queue issued bills, with the same few queries for any number; those queued before stay as they are.

    raises  Refused(`state`) for a bill that is not issued.
    """
    if not bills:
        return
    if any(bill.state != Bill.State.ISSUED for bill in bills):
        raise Refused("state", "only issued bills are sent")
    accounts = [bill.account_id for bill in bills]
    billing = BillingAccount.objects.in_bulk(accounts)
    addresses = reached_at(accounts)
    emails, deliveries = list[NewEmail](), list[BillDelivery]()
    moment = now()
    for bill, facts in zip(bills, facts_for(bills), strict=True):
        row = billing.get(bill.account_id)
        address = "" if row is not None and row.paper else addresses[bill.account_id]
        if address:
            emails.append(_email(bill, facts, address))
        to = address or " / ".join(facts.mail_to)[:_TO_CHARS]
        channel = "email" if address else "paper"
        deliveries.append(BillDelivery(bill=bill, channel=channel, to=to, queued_at=moment))
    BillDelivery.objects.bulk_create(deliveries, batch_size=ROWS_A_QUERY, ignore_conflicts=True)
    queue_emails(emails)


def deliveries_of(bill: Bill) -> tuple[SentBill, ...]:
    """Return how a bill went out, for those who may see the bill: its page shows the code of the message."""
    message = Message.objects.filter(key=email_key(bill)).first()
    found = []
    for row in BillDelivery.objects.filter(bill=bill).order_by("queued_at"):
        by_email = row.channel == "email"
        found.append(
            SentBill(
                channel=row.channel,
                to=hidden(row.to) if by_email else "",
                queued_at=row.queued_at,
                done_at=row.done_at,
                code=code_text(message.public_id) if by_email and message else "",
                failed=bool(by_email and message and (message.failed_at or message.bounced_at)),
            )
        )
    return tuple(found)


def hidden(address: str) -> str:
    """Return `a…a@example.org`: enough to recognise one's own address, too little to learn another's."""
    name, at, host = address.rpartition("@")
    return f"{name[:1]}…{name[-1:] if len(name) > 2 else ''}{at}{host}"


def known_addresses(accounts: Sequence[int]) -> dict[int, tuple[str, ...]]:
    """Return the addresses for bills of each account, the first choice first: its own, its holder's verified one."""
    billing = dict(BillingAccount.objects.filter(account__in=accounts).values_list("account", "email"))
    holders = _holders_addresses(accounts)
    both = {account: (billing.get(account, ""), holders.get(account, "")) for account in accounts}
    return {account: tuple(address for address in some if address) for account, some in both.items()}


def reached_at(accounts: Sequence[int]) -> dict[int, str]:
    """Return the address at which email reaches each account, the first choice that none came back from; or empty."""
    known, bad = known_addresses(accounts), bad_addresses()
    return {account: next((one for one in some if one.lower() not in bad), "") for account, some in known.items()}


def _holders_addresses(accounts: Sequence[int]) -> dict[int, str]:
    """Return the verified address of each account's holder, the one who came first."""
    rows = AccountAccess.objects.filter(
        account__in=accounts, level=AccountAccess.Level.HOLDER, ended_at__isnull=True, user__is_active=True
    ).order_by("-granted_at", "-pk")
    found = dict(rows.values_list("account_id", "user__email"))
    verified = set(
        EmailAddress.objects.filter(verified=True, user__accounts__in=accounts).values_list("email", flat=True)
    )
    return {account: email for account, email in found.items() if email in verified}


def email_key(bill: Bill) -> str:
    """Return the key of the message that carries a bill by email."""
    return f"bill:{bill.public_id}:email"


def _email(bill: Bill, facts: BillFacts, address: str) -> NewEmail:
    public_id = new_public_id()
    language = facts.language if facts.language in LANGUAGES else "en"
    utility = facts.utility
    with translation.override(language):
        context = {
            "language": language,
            "utility": utility.name,
            "heading": _("Your water bill of %(day)s") % {"day": figures.day(facts.bill_date)},
            "facts": _main_facts(facts),
            "link": f"{utility.portal_url}{reverse('resident:bill', args=[bill.public_id])}"
            if utility.portal_url
            else "",
            "site": utility.portal_url,
            "phone": utility.contact_phone,
            "code": code_text(public_id),
        }
        return NewEmail(
            key=email_key(bill),
            to=address,
            subject=_("%(utility)s: your water bill is ready") % {"utility": utility.name},
            text=render_to_string("notifications/bill.txt", context),
            html=render_to_string("notifications/bill.html", context),
            language=language,
            account=bill.account_id,
            category=Category.BILL,
            attachment=f"{ATTACHMENT}:{bill.public_id}",
            public_id=public_id,
        )


def _main_facts(facts: BillFacts) -> list[Pair]:
    if facts.due_cents <= 0:
        return [Pair(_("Amount due"), _("Nothing to pay."), strong=True)]
    return [
        Pair(_("Amount due"), figures.money(facts.due_cents), strong=True),
        Pair(_("Due by"), figures.day(facts.due_date)),
    ]


def _attached(public_id: str) -> Attached:
    from portal.billing.documents.pdf import render_pdf

    bill = Bill.objects.filter(public_id=public_id).first()
    if bill is None:
        raise Refused("bill", "the bill of this message does not exist any more")
    [facts] = facts_for([bill])
    return Attached(f"{facts.number or public_id}.pdf", render_pdf(facts, facts.language), "application/pdf")


def _was_sent(public_id: str, at: datetime) -> None:
    rows = BillDelivery.objects.filter(bill__public_id=public_id, channel="email", done_at__isnull=True)
    rows.update(done_at=at)


def _was_lost(public_id: str, at: datetime, label: str) -> None:
    """Put a bill whose email will not arrive among those that wait for the printer, once; a cancelled one is let be."""
    bill = Bill.objects.filter(public_id=public_id, state=Bill.State.ISSUED).first()
    if bill is None:
        return
    [facts] = facts_for([bill])
    defaults = {"to": " / ".join(facts.mail_to)[:_TO_CHARS], "queued_at": at}
    _, fresh = BillDelivery.objects.get_or_create(bill=bill, channel="paper", defaults=defaults)
    if fresh:
        audit("bill.paper", label=label, target=bill, reason="its email did not arrive")


def register_attachment() -> None:
    """Let messages carry bills: called when the application is ready."""
    register(ATTACHMENT, Maker(make=_attached, sent=_was_sent, lost=_was_lost))
