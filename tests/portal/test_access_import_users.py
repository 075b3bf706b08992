"""People of the former portal come along with their accounts: they set a new password, nothing else."""

from __future__ import annotations

import re

import pytest
from allauth.account.models import EmailAddress
from django.core.cache import cache
from django.test import Client

from portal.billing.models import BillingAccount
from portal.core.models import AuditEntry, User, UtilitySettings
from portal.customers.models import AccountAccess
from portal.importing.services import ImportRefused, apply, check
from portal.notifications.models import Message
from tests.portal.bills import make_account, make_bill
from tests.portal.building import person, sent_mail

pytestmark = pytest.mark.django_db
HEADER = "email,account,name,username,language,paperless\n"


@pytest.fixture(autouse=True)
def a_portal_with_two_accounts() -> None:
    cache.clear()
    UtilitySettings.objects.create(pk=1, name="Cedar Valley Water", portal_url="https://water.example.gov")
    make_account("0010-2345", paper=True)
    make_account("0010-2346", paper=True)


def load(*lines: str):  # type: ignore[no-untyped-def]
    return apply("users", (HEADER + "".join(f"{line}\n" for line in lines)).encode(), label="tests")


def problems(*lines: str) -> list[str]:
    return [str(one) for one in check("users", (HEADER + "".join(f"{line}\n" for line in lines)).encode()).problems]


def test_a_dry_run_writes_nothing_and_applying_it_again_changes_nothing() -> None:
    line = "Ana@Example.org,102345;0010-2346,Ana Morales,Ana.M,es,yes"
    report = check("users", (HEADER + line + "\n").encode())
    assert (report.new, report.totals) == (1, {"accounts linked": "2"})
    assert not User.objects.exists()
    load(line)
    user = User.objects.get()
    assert (user.email, user.name, user.username, user.language) == ("ana@example.org", "Ana Morales", "ana.m", "es")
    assert not user.has_usable_password()
    assert list(EmailAddress.objects.values_list("email", "verified", "primary")) == [("ana@example.org", False, True)]
    assert [(row.account.number, row.level) for row in AccountAccess.objects.order_by("pk")] == [
        ("0010-2345", "holder"),
        ("0010-2346", "holder"),
    ]
    assert list(BillingAccount.objects.values_list("paper", "email")) == [(False, "ana@example.org")] * 2
    assert AuditEntry.objects.filter(action="access.grant").count() == 2
    assert "ana@example.org" not in str(list(AuditEntry.objects.values("detail")))
    again = load(line)
    assert (again.new, again.changed, again.unchanged) == (0, 0, 1)
    assert (User.objects.count(), AccountAccess.objects.count(), Message.objects.count()) == (1, 2, 1)


def test_they_only_set_a_new_password() -> None:
    """The whole way: the letter, the neutral refusal before, the link, and then the bills."""
    account = make_account("0010-2347")
    make_bill(account)
    load("ana@example.org,0010-2347,Ana,ana.m,en,")
    (letter,) = Message.objects.all()
    assert letter.to == "ana@example.org"
    assert "https://water.example.gov/accounts/password/reset/" in letter.says
    assert "do not register again" in letter.says
    client = Client()
    before = client.post("/accounts/login/", {"login": "ana.m", "password": "my-old-password"})
    assert "set a new password first" in before.content.decode()
    client.post("/accounts/password/reset/", {"email": "ana@example.org"})
    path = re.search(r"https?://[^/]+(/accounts/\S+)", sent_mail()[0].body)
    assert path is not None
    form = client.get(path[1], follow=True)
    client.post(form.redirect_chain[-1][0], {"password1": "clear-water-9", "password2": "clear-water-9"})
    assert EmailAddress.objects.get().verified
    done = client.post("/accounts/login/", {"login": "Ana.M", "password": "clear-water-9"})
    assert (done.status_code, done.url) == (302, "/")
    assert client.get(f"/bills/{account.public_id}/").status_code == 200


def test_letters_are_in_each_persons_language_and_wait_for_the_portals_address() -> None:
    UtilitySettings.objects.update(portal_url="")
    lines = "ana@example.org,0010-2345,Ana,,es,", "ben@example.org,0010-2346,Ben,,en,"
    report = load(*lines)
    assert any("nobody is written to" in note for note in report.notes)
    assert not Message.objects.exists()
    UtilitySettings.objects.update(portal_url="https://water.example.gov")
    load(*lines)
    assert dict(Message.objects.values_list("to", "language")) == {"ana@example.org": "es", "ben@example.org": "en"}


def test_lines_of_one_address_are_put_together() -> None:
    load("ana@example.org,0010-2345,Ana,,,yes", "ana@example.org,0010-2346,,ana.m,,no")
    assert (User.objects.get().username, AccountAccess.objects.count()) == ("ana.m", 2)
    assert list(BillingAccount.objects.order_by("pk").values_list("paper", flat=True)) == [False, True]


def test_who_has_a_sign_in_keeps_it_and_what_was_taken_away_stays_away() -> None:
    ana = person(name="Ana Maria")
    load("ana@example.org,0010-2345,Ana,ana.m,,")
    ana.refresh_from_db()
    assert (ana.name, ana.username, ana.has_usable_password()) == ("Ana Maria", "ana.m", True)
    assert not Message.objects.exists()
    AccountAccess.objects.update(ended_at="2026-06-01T00:00:00Z")
    assert load("ana@example.org,0010-2345,Ana,ana.m,,").unchanged == 1
    assert not AccountAccess.objects.filter(ended_at=None).exists()


def test_every_problem_is_listed_and_nothing_is_written() -> None:
    person("taken@example.org", username="clara")
    lines = (
        "no-address,0010-2345,,,,",
        "ana@example.org,999,,,,",
        "ben@example.org,0010-2345,,CLARA,,",
        "cleo@example.org,0010-2345,,x,,",
        "dora@example.org,0010-2345,Dora,same.name,,",
        "eve@example.org,0010-2345,Eve,Same.Name,,",
        "finn@example.org,0010-2345,Finn,,,",
        "finn@example.org,0010-2346,Fynn,,,",
    )
    found = problems(*lines)
    assert [one.split(":")[0] for one in found] == [
        "line 2, email",
        "line 3, account",
        "line 4, username",
        "line 5, username",
        "line 6, username",
        "line 7, username",
        "line 9, name",
    ]
    with pytest.raises(ImportRefused):
        load(*lines)
    assert User.objects.count() == 1


def test_a_user_name_that_is_an_address_stays_out() -> None:
    load("ana@example.org,0010-2345,Ana,ana@example.org,,")
    assert User.objects.get().username is None
