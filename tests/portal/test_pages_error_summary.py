"""Every form of the residents that is refused says so in the same summary: on top, focused, leading to the field."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from django.urls import reverse

from portal.customers.models import Account
from tests.portal.bills import make_account
from tests.portal.building import person
from tests.portal.metered_homes import metered_home
from tests.portal.test_downloads_own_data import recent

if TYPE_CHECKING:
    from django.test import Client

pytestmark = pytest.mark.django_db


def summary_of(answer: Any) -> list[str]:
    """The fields to which the summary of a refused page leads; each must be on the page, and its title say it."""
    page = answer.content.decode()
    assert answer.status_code == 422
    assert "<title>Error" in page.replace("\n", "")
    [(attributes, inner)] = re.findall(r'<div class="[^"]*error-summary"([^>]*)>(.*?)</div>', page, re.DOTALL)
    assert 'tabindex="-1" autofocus' in attributes
    assert page.count("autofocus") == 1
    fields = re.findall(r'<a href="#([^"]+)"', inner)
    assert all(f'id="{field}"' in page for field in fields)
    return fields


def test_a_refused_form_leads_to_its_field(client: Client) -> None:
    ana = person("ana@example.org")
    home = metered_home(user=ana)
    billed = make_account(user=ana)
    account = Account.objects.exclude(pk=billed.pk).get()
    recent(client, ana)
    invite = reverse("resident:household-invite", args=[account.public_id])
    make, delete = reverse("resident:token-make"), reverse("resident:privacy-delete")
    usage = reverse("resident:download", args=[home.service_point.public_id])
    delivery = reverse("resident:delivery", args=[billed.public_id])
    level = {"level": "view-usage"}
    assert summary_of(client.post(invite, {"email": "no address", **level})) == ["email"]
    assert summary_of(client.post(invite, {"email": "bo@example.org", "level": "x"}))[0].startswith("level-")
    assert summary_of(client.post(make, {"days": "30", "scopes": "usage:read"})) == ["name"]
    assert summary_of(client.post(make, {"name": "mine", "days": "30"})) == ["scope-1"]
    assert summary_of(client.post(make, {"name": "mine", "days": "0", "scopes": "usage:read"})) == ["days"]
    assert summary_of(client.get(usage, {"form": "csv", "unit": "gal", "first": "2026-02-30"})) == ["first"]
    assert summary_of(client.get(usage, {"form": "csv", "unit": "x", "first": "2026-05-02", "last": "2026-05-03"})) == [
        "unit"
    ]
    assert summary_of(client.post(delivery, {"way": "x@example.org", "language": "en"})) == ["way-1"]
    assert summary_of(client.post(delete)) == ["understood"]
