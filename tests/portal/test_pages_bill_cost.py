"""The cost so far on residents' pages: what the bill will say, for the account's holder alone."""

from __future__ import annotations

import time
from datetime import date, timedelta
from typing import TYPE_CHECKING

import pytest
from django.test import Client

from portal.billing.models import RateBook, ServiceAgreement
from portal.billing.rate_books import digest_of
from portal.customers import services as customers
from portal.customers.models import AccountAccess
from portal.metering.calendar import midnight
from portal.resident.costs import account_living_at, cost_card
from tests.portal import billed
from tests.portal.billed import CHICAGO, reads, run, steady
from tests.portal.building import person

if TYPE_CHECKING:
    from pytest_django.fixtures import SettingsWrapper

pytestmark = pytest.mark.django_db
MOMENT = midnight(date(2026, 6, 11), CHICAGO) + timedelta(hours=9)


@pytest.fixture
def place(settings: SettingsWrapper) -> billed.Home:
    """A home on its eleventh day of a month of even use, 400 gallons a day, after a month that was billed."""
    settings.HEADWATER_CLOCK = f"scaled:1.0:{time.time()!r}:{MOMENT.timestamp()!r}"
    billed.rate_book()
    found = billed.home(1, date(2026, 4, 1))
    reads(found.register, steady(date(2026, 4, 1), date(2026, 6, 11), 400))
    run(date(2026, 6, 1))
    return found


def looking(place: billed.Home, email: str, level: str = "holder") -> Client:
    user = person(email)
    customers.grant_access(place.account, user, at=MOMENT)
    AccountAccess.objects.filter(account=place.account, user=user).update(level=level)
    client = Client()
    client.force_login(user)
    return client


def test_both_pages_say_what_the_period_costs_and_will_cost(place: billed.Home) -> None:
    client = looking(place, "ana@example.org")
    usage = f"/usage/{place.service_point.public_id}/"
    for address in (usage, f"/bills/{place.account.public_id}/"):
        text = client.get(address).content.decode()
        assert 'id="cost-so-far" data-cents="5954"' in text  # 10 days: see test_billing_projection
        assert "$59.54" in text
        assert "4,000 gal" in text
        assert 'id="cost-expected">$' in text
        assert "Jun 1, 2026 – Jun 30, 2026" in text
    assert 'id="cost"' not in client.get(usage, headers={"HX-Request": "true"}).content.decode()


def test_who_may_only_look_at_usage_sees_no_amount(place: billed.Home) -> None:
    client = looking(place, "guest@example.org", "view-usage")
    text = client.get(f"/usage/{place.service_point.public_id}/").content.decode()
    assert 'id="cost"' not in text
    assert "$" not in text
    assert 'id="tab-bills"' not in text


def test_who_moved_out_is_not_shown_the_next_tenants_cost(place: billed.Home) -> None:
    client = looking(place, "ana@example.org")
    place.account.occupancies.update(end=MOMENT - timedelta(days=1))
    next_one = billed.account_row(2)
    customers.move_in(next_one, place.service_point, MOMENT - timedelta(days=1))
    text = client.get(f"/usage/{place.service_point.public_id}/").content.decode()
    assert 'id="cost"' not in text
    user = AccountAccess.objects.get(account=place.account).user
    assert account_living_at(user, place.service_point, MOMENT) is None


def test_terms_that_no_rate_fits_leave_the_page_as_it_is(place: billed.Home) -> None:
    client = looking(place, "ana@example.org")
    ServiceAgreement.objects.update(rate_class="no-such-class")
    assert cost_card(place.account, MOMENT) is None
    for address in (f"/usage/{place.service_point.public_id}/", f"/bills/{place.account.public_id}/"):
        answer = client.get(address)
        assert answer.status_code == 200
        assert 'id="cost"' not in answer.content.decode()


def test_a_rate_book_that_cannot_be_read_costs_the_page_its_cost_alone(place: billed.Home) -> None:
    unread = "name: neither of our formats\n"
    RateBook.objects.update(text=unread, digest=digest_of(unread))  # a process keeps books by their digest
    text = looking(place, "ana@example.org").get(f"/usage/{place.service_point.public_id}/").content.decode()
    assert 'id="period-title"' in text
    assert 'id="cost"' not in text
