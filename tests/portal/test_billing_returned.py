"""A bill whose email comes back, or is given up, goes on paper once; staff and resident are told until it is mended."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from allauth.account.models import EmailAddress
from django.urls import reverse

from portal.billing.delivery import deliver, deliver_many
from portal.billing.documents.facts import freeze
from portal.billing.models import Bill, BillDelivery, BillingAccount
from portal.billing.printing import print_run
from portal.core.clock import now
from portal.core.models import AuditEntry
from portal.customers import services as customers
from portal.customers.models import AccountAccess
from portal.notifications import mail, sending
from portal.notifications.bounces import clear_bad, is_bad, take_report
from portal.notifications.carriers import NotTaken
from portal.notifications.models import Message
from portal.notifications.sending import send_due
from tests.portal.bills import make_account, make_bill
from tests.portal.building import person
from tests.portal.test_notifications_pages import _report

if TYPE_CHECKING:
    from django.test import Client

    from portal.core.models import User

pytestmark = pytest.mark.django_db
PROFILE = "resident:profile"


@pytest.fixture
def ana() -> User:
    """Somebody who signs in with a verified address."""
    user = person("ana@example.org")
    EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
    return user


@pytest.fixture
def bill(ana: User, monkeypatch: pytest.MonkeyPatch) -> Bill:
    """A bill that goes to its holder by email; no PDF is made of it."""
    monkeypatch.setattr(mail, "maker_of", lambda _attachment: pytest.fail("no mail is made here"))
    monkeypatch.setattr(mail.MailCarrier, "carry", lambda _self, _message: "")
    return _sent(make_bill(make_account(user=ana)))


def _sent(bill: Bill) -> Bill:
    freeze([bill])
    bill.save()
    deliver(bill)
    send_due()
    return bill


def _comes_back() -> Message:
    message = Message.objects.order_by("-pk")[0]
    take_report(_report(message), label="tests")
    return message


def _ways(bill: Bill) -> list[str]:
    return list(BillDelivery.objects.filter(bill=bill).order_by("pk").values_list("channel", flat=True))


def _told(client: Client, user: User) -> str:
    client.force_login(user)
    page = client.get(reverse(PROFILE)).content.decode()
    _, _, told = page.partition('id="returned-bills"')
    return " ".join(told.partition("</section>")[0].split())


def test_a_bill_that_comes_back_is_printed_once_with_whatever_is_printed_next(bill: Bill) -> None:
    _comes_back(), _comes_back()
    assert _ways(bill) == ["email", "paper"]
    [entry] = AuditEntry.objects.filter(action="bill.paper")
    assert (entry.target_id, entry.actor_label) == (bill.public_id, "tests")
    assert bill.account.access.get().user.email not in str(entry.detail) + entry.reason
    other = make_bill(make_account(paper=True))
    freeze([other])
    other.save()
    deliver_many([other])
    [batch] = print_run(None, label="tests")
    assert batch.batch.bills == 2
    assert [again.batch.bills for again in print_run(None, label="tests")] == [2]


def test_a_cancelled_bill_is_not_printed_after_all(bill: Bill) -> None:
    Bill.objects.filter(pk=bill.pk).update(state="cancelled")
    _comes_back()
    assert _ways(bill) == ["email"]


@pytest.mark.parametrize(("nobody", "goes_on"), [(True, "until you correct"), (False, "")])
def test_what_the_mail_server_never_takes_goes_on_paper_too(
    ana: User, bill: Bill, client: Client, monkeypatch: pytest.MonkeyPatch, nobody: bool, goes_on: str
) -> None:
    def refuse(_self: object, _message: Message) -> str:
        raise NotTaken("550", permanent=nobody, nobody=nobody)

    monkeypatch.setattr(mail.MailCarrier, "carry", refuse)
    monkeypatch.setattr(sending, "TRIES_MAX", 2)
    later = _sent(make_bill(bill.account))
    assert _ways(later) == (["email", "paper"] if nobody else ["email"])
    send_due(now() + timedelta(days=1))
    assert _ways(later) == ["email", "paper"]
    assert is_bad(ana.email) is nobody
    told = _told(client, ana)
    assert "could not be emailed to a…a@example.org" in told
    assert goes_on in told


def test_the_resident_is_told_until_the_address_is_confirmed_again(ana: User, bill: Bill, client: Client) -> None:
    assert not _told(client, ana)
    _comes_back()
    told = _told(client, ana)
    assert f"Account {bill.account.number}: your bill could not be emailed to a…a@example.org." in told
    assert "by post until you correct the address" in told
    assert reverse("account_email") in told
    later = _sent(make_bill(bill.account))
    assert _ways(later) == ["paper"]
    assert _told(client, ana) == told
    clear_bad(ana.email, label="tests")
    assert not _told(client, ana)
    assert _ways(_sent(make_bill(bill.account))) == ["email"]


def test_another_address_ends_it_and_so_does_paper(ana: User, client: Client) -> None:
    account = make_account(user=ana, email="old@example.org")
    _sent(make_bill(account))
    _comes_back()
    told = _told(client, ana)  # the next bill goes to the sign-in's own address: only this one is by post
    assert "could not be emailed to o…d@example.org. It goes by post." in told
    assert reverse("resident:account-bills", args=[account.public_id]) in told
    BillingAccount.objects.filter(account=account).update(paper=True)
    assert not _told(client, ana)
    BillingAccount.objects.filter(account=account).update(paper=False, email=ana.email)
    assert not _told(client, ana)


def test_guests_who_cannot_mend_it_are_not_told(ana: User, bill: Bill, client: Client) -> None:
    guest = person("guest@example.org")
    customers.grant_access(bill.account, guest, at=now(), level=AccountAccess.Level.VIEW_BILLS)
    _comes_back()
    assert not _told(client, guest)
    assert _told(client, ana)


def test_staff_see_in_the_log_that_the_bill_goes_by_post(bill: Bill, client: Client) -> None:
    message = _comes_back()
    client.force_login(person("eve@city.example", is_staff=True))
    assert "the bill goes by post" in client.get(reverse("staff:messages")).content.decode()
    page = reverse("staff:message", args=[message.public_id])
    assert "it is printed with the next batch" in client.get(page).content.decode()
    print_run(None, label="tests")
    assert "The bill went by post" in client.get(page).content.decode()
