"""Signing in: links in messages hold no row numbers, and guessing is slow."""

from __future__ import annotations

import re

import pytest
from allauth.account.models import EmailAddress
from django.core.cache import cache
from django.test import Client

from tests.portal.bills import make_account, make_bill
from tests.portal.building import person, sent_mail

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def nobody_tried_before() -> None:
    cache.clear()


def link(pattern: str) -> str:
    (message,) = sent_mail()
    found = re.search(rf"https?://[^/]+({pattern}\S*)", message.body)
    assert found is not None, message.body
    return found[1]


def test_a_password_is_reset_by_a_link_that_names_nobodys_row() -> None:
    user = person()
    EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
    client = Client()
    client.post("/accounts/password/reset/", {"email": user.email})
    path = link("/accounts/password/reset/key/")
    assert path.split("/")[-2].split("-")[0] == user.public_id
    form = client.get(path, follow=True)
    done = client.post(form.redirect_chain[-1][0], {"password1": "clear-water-9", "password2": "clear-water-9"})
    assert done.status_code == 302
    user.refresh_from_db()
    assert user.check_password("clear-water-9")
    # The link works once, and not under another person's id.
    assert client.get(path, follow=True).redirect_chain == []
    other = person("ben@example.org")
    assert client.get(path.replace(user.public_id, other.public_id), follow=True).redirect_chain == []
    assert client.get(path.replace(user.public_id, str(user.pk)), follow=True).redirect_chain == []


def test_an_address_is_confirmed_by_a_random_key() -> None:
    client = Client()
    bill = make_bill(make_account("1234567"))
    client.post("/register/", {"number": bill.number, "date": str(bill.bill_date)})
    fields = {"email": "new@example.org", "name": "Ana", "password1": "clear-water-9", "password2": "clear-water-9"}
    client.post("/register/sign-in/", fields)
    path = link("/accounts/confirm-email/")
    assert re.fullmatch(r"/accounts/confirm-email/[a-z0-9]{64}/", path)
    assert client.post(path).status_code == 302
    assert EmailAddress.objects.get(email="new@example.org").verified


def test_guessing_passwords_is_slow() -> None:
    user = person()
    EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
    client = Client()
    for number in range(6):
        client.post("/accounts/login/", {"login": user.email, "password": f"guess-{number}"})
    late = client.post("/accounts/login/", {"login": user.email, "password": "correct-horse-7"})
    assert (late.status_code, client.get("/").status_code) == (200, 302)
    assert "_auth_user_id" not in client.session
    cache.clear()
    assert client.post("/accounts/login/", {"login": user.email, "password": "correct-horse-7"}).status_code == 302
    assert "_auth_user_id" in client.session
