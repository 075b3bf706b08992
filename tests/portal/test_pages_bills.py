"""Residents' bills: who sees which, what the pages say, and what nobody gets by asking for it."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

import pytest
from django.test import Client

from portal.billing.models import Bill, BillingAccount
from portal.billing.preferences import Delivery, set_delivery
from portal.billing.visible import visible_bills
from portal.core.errors import Refused
from portal.core.models import AuditEntry, UtilitySettings
from portal.customers import services as customers
from portal.customers.models import AccountAccess
from portal.resident.bill_pages import billed_accounts
from tests.portal.bills import make_account, make_bill, pay
from tests.portal.building import person

if TYPE_CHECKING:
    from django.http import HttpResponse
    from pytest_django.fixtures import SettingsWrapper

    from portal.core.models import User
    from portal.customers.models import Account

pytestmark = pytest.mark.django_db
TODAY = datetime(2026, 8, 5, 17, 0, tzinfo=UTC)
VIEW = AccountAccess.Level.VIEW_USAGE


@pytest.fixture(autouse=True)
def a_summer_day(settings: SettingsWrapper) -> None:
    """Time starts on 5 August 2026 at noon in Chicago."""
    settings.HEADWATER_CLOCK = f"scaled:1.0:{time.time()!r}:{TODAY.timestamp()!r}"


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def resident(email: str = "ana@example.org") -> tuple[User, Account, Client]:
    user = person(email)
    account = make_account(user=user, email=email, name=email.split("@")[0].title())
    return user, account, signed_in(user)


def text_of(answer: HttpResponse) -> str:
    return answer.content.decode()


def addresses_of(bill: Bill) -> list[str]:
    return [f"/bill/{bill.public_id}/", f"/bill/{bill.public_id}/pdf/", f"/bills/{bill.account.public_id}/"]


def test_the_bills_of_an_account_with_what_is_owed() -> None:
    _, account, client = resident()
    first, second = make_bill(account), make_bill(account, units=8_000)
    pay(account, first.charges_cents, date(2026, 7, 1))
    page = client.get("/bills/", follow=True)
    assert page.redirect_chain == [(f"/bills/{account.public_id}/", 302)]
    text = text_of(page)
    assert f'id="owed" data-cents="{second.charges_cents}"' in text
    assert text.index(str(second.number)) < text.index(str(first.number))  # the newest first
    assert f'href="/bill/{second.public_id}/"' in text
    assert "Please pay by" not in text
    assert "It was due on" in text  # 24 July has passed
    assert account.number in text


def test_a_credit_and_nothing_due_are_said_so() -> None:
    _, account, client = resident()
    bill = make_bill(account)
    pay(account, bill.charges_cents, date(2026, 7, 1))
    assert "Nothing is due" in text_of(client.get(f"/bills/{account.public_id}/"))
    pay(account, 500, date(2026, 7, 2))
    text = text_of(client.get(f"/bills/{account.public_id}/"))
    assert "You have a credit of" in text
    assert "$5.00" in text


def test_one_bill_is_explained_line_by_line_in_the_language_of_the_page() -> None:
    _, account, client = resident()
    bill = make_bill(account)
    english = text_of(client.get(f"/bill/{bill.public_id}/"))
    for said in ("$61.25", "Water used", "$101.45", "00112345"):  # subtotal, a line, the total, a dial
        assert said in english
    client.cookies["django_language"] = "es"
    spanish = text_of(client.get(f"/bill/{bill.public_id}/"))
    assert "Agua usada" in spanish
    assert '<html lang="es">' in spanish


def test_the_pdf_is_a_private_download() -> None:
    _, account, client = resident()
    bill = make_bill(account)
    answer = client.get(f"/bill/{bill.public_id}/pdf/?language=es")
    assert answer["Content-Type"] == "application/pdf"
    assert answer["Content-Disposition"] == f'attachment; filename="water-bill-{bill.number}.pdf"'
    assert "no-store" in answer["Cache-Control"]
    assert answer.content.startswith(b"%PDF-")
    assert answer.content != client.get(f"/bill/{bill.public_id}/pdf/?language=en").content


def test_other_peoples_bills_do_not_exist() -> None:
    _, _, client = resident()
    _, other, _ = resident("ben@example.org")
    bill = make_bill(other)
    for address in addresses_of(bill):
        assert client.get(address).status_code == 404
    assert client.post(f"/bills/{other.public_id}/delivery/", {"way": "paper", "language": "en"}).status_code == 404
    assert not BillingAccount.objects.get(account=other).paper


def test_a_guess_of_a_number_or_a_row_leads_nowhere() -> None:
    _, account, client = resident()
    bill = make_bill(account)
    for guess in (bill.pk, bill.number, account.number, account.pk, "none"):
        assert client.get(f"/bill/{guess}/").status_code == 404
        assert client.get(f"/bills/{guess}/").status_code == 404


def test_who_may_only_look_at_usage_sees_no_bill() -> None:
    _, account, _ = resident()
    bill = make_bill(account)
    guest = person("guest@example.org")
    access = customers.grant_access(account, guest, at=TODAY)
    AccountAccess.objects.filter(account=account, user=guest).update(level=VIEW)
    client = signed_in(guest)
    assert access is not None
    for address in addresses_of(bill):
        assert client.get(address).status_code == 404
    text = text_of(client.get("/bills/"))
    assert "There are no bills here" in text
    assert not billed_accounts(guest).exists()
    with pytest.raises(Refused) as refused:
        set_delivery(account, Delivery(True, "", "en"), actor=guest)
    assert refused.value.code == "not-yours"


def test_access_that_ended_shows_nothing_and_the_next_tenant_sees_no_bill_of_the_last() -> None:
    user, account, client = resident()
    bill = make_bill(account)
    AccountAccess.objects.filter(account=account, user=user).update(ended_at=TODAY)
    for address in addresses_of(bill):
        assert client.get(address).status_code == 404
    assert list(visible_bills(user)) == []


def test_a_moved_out_customer_still_sees_the_final_bill() -> None:
    _, account, client = resident()
    account.occupancies.update(end=TODAY)
    bill = make_bill(account, kind="final")
    text = text_of(client.get(f"/bills/{account.public_id}/"))
    assert "final bill" in text
    assert client.get(f"/bill/{bill.public_id}/").status_code == 200


def test_a_draft_is_nobodys_and_a_cancelled_bill_leads_to_the_one_in_its_place() -> None:
    _, account, client = resident()
    old = make_bill(account)
    Bill.objects.filter(pk=old.pk).update(state="cancelled", cancelled_at=TODAY, cancel_reason="misread")
    draft = make_bill(account, issued=False, replaces=old, kind="corrected", period_start=old.period_start)
    assert client.get(f"/bill/{draft.public_id}/").status_code == 404
    assert draft.public_id not in text_of(client.get(f"/bills/{account.public_id}/"))
    assert 'id="replaced-by"' not in text_of(client.get(f"/bill/{old.public_id}/"))
    from tests.portal.bills import issue

    issue(draft)
    text = text_of(client.get(f"/bill/{old.public_id}/"))
    assert f'href="/bill/{draft.public_id}/"' in text
    assert "is-cancelled" in text_of(client.get(f"/bills/{account.public_id}/"))


def test_signed_out_nobody_sees_anything() -> None:
    _, account, _ = resident()
    bill = make_bill(account)
    for address in [*addresses_of(bill), "/bills/"]:
        answer = Client().get(address)
        assert answer.status_code == 302
        assert answer["Location"].startswith("/accounts/login/")


def test_the_tab_stands_where_it_leads_somewhere() -> None:
    _, account, client = resident()
    point = account.occupancies.get().service_point
    assert 'id="tab-bills"' in text_of(client.get(f"/usage/{point.public_id}/"))
    assert 'id="tab-bills"' not in text_of(signed_in(person("new@example.org")).get("/"))


def test_paper_language_and_address_are_kept_and_written_down() -> None:
    user, account, client = resident()
    address = f"/bills/{account.public_id}/delivery/"
    answer = client.post(address, {"way": "paper", "language": "es"})
    assert (answer.status_code, answer["Location"]) == (303, f"/bills/{account.public_id}/")
    billing = BillingAccount.objects.get(account=account)
    assert (billing.paper, billing.language, billing.email) == (True, "es", "ana@example.org")
    entry = AuditEntry.objects.get(action="bills.delivery")
    assert (entry.actor, entry.detail) == (user, {"paper": [False, True], "language": ["en", "es"]})
    assert "Saved" in text_of(client.get(answer["Location"]))
    client.post(address, {"way": "paper", "language": "es"})
    assert AuditEntry.objects.filter(action="bills.delivery").count() == 1  # nothing changed, nothing is written
    client.post(address, {"way": "Ana@Example.org", "language": "es"})
    assert not BillingAccount.objects.get(account=account).paper


@pytest.mark.parametrize(
    ("posted", "says"),
    [
        ({"way": "eve@example.org", "language": "en"}, "an address that was confirmed"),
        ({"way": "", "language": "en"}, "an address that was confirmed"),
        ({"way": "paper", "language": "xx"}, "a language in which bills are written"),
        ({}, "a language in which bills are written"),
    ],
)
def test_bills_never_go_to_an_address_that_nobody_confirmed(posted: dict[str, str], says: str) -> None:
    _, account, client = resident()
    answer = client.post(f"/bills/{account.public_id}/delivery/", posted)
    assert answer.status_code == 422
    assert says in text_of(answer)
    billing = BillingAccount.objects.get(account=account)
    assert (billing.email, billing.paper, billing.language) == ("ana@example.org", False, "en")


def test_only_a_post_with_the_forms_token_changes_anything() -> None:
    user, account, _ = resident()
    client = Client(enforce_csrf_checks=True)
    client.force_login(user)
    address = f"/bills/{account.public_id}/delivery/"
    assert client.post(address, {"way": "paper", "language": "en"}).status_code == 403
    assert client.get(address).status_code == 405


def test_ways_to_pay_are_those_of_the_settings_in_the_pages_language() -> None:
    _, account, client = resident()
    ways = [{"label": {"en": "At the counter", "es": "En ventanilla"}, "detail": {"en": "Mon-Fri <9-5>"}}]
    UtilitySettings.objects.update_or_create(pk=1, defaults={"ways_to_pay": ways})
    text = text_of(client.get(f"/bills/{account.public_id}/"))
    assert "At the counter" in text
    assert "Mon-Fri &lt;9-5&gt;" in text
    assert 'id="pay-help" href="/help/#troubleshooting"' in text
    client.cookies["django_language"] = "es"
    assert "En ventanilla" in text_of(client.get(f"/bills/{account.public_id}/"))


def test_the_list_takes_the_same_few_questions_however_long_it_is(django_assert_max_num_queries: object) -> None:
    _, account, client = resident()
    for _ in range(26):
        make_bill(account, units=1000)
    with django_assert_max_num_queries(25):  # type: ignore[operator]
        text = text_of(client.get(f"/bills/{account.public_id}/"))
    assert text.count('data-label="Period"') == 24
    assert text_of(client.get(f"/bills/{account.public_id}/?all=1")).count('data-label="Period"') == 26
