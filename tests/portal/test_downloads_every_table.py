"""Every table that has to do with a person is in the copy of their data, or is named here with the reason why not."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.apps import apps
from django.contrib.sessions.models import Session
from django.db import models
from django.test.utils import isolate_apps

from portal.access.models import Invitation, PendingClaim, SignIn
from portal.alerts.models import Alert, AlertRecipient, AlertSetting
from portal.billing.models import Bill
from portal.comparison.models import OptOut
from portal.core.models import User
from portal.core.personal_data import personal_data
from portal.core.tokens import make_token
from portal.customers.models import Account
from portal.downloads.leaving import delete_login
from portal.notifications.models import Message, Phone, ReceivedText, StoppedNumber
from portal.resident.models import Preference
from portal.service.models import RequestStep, ServiceRequest
from tests.portal.building import person
from tests.portal.metered_homes import metered_home
from tests.portal.test_downloads_own_data import files_of

if TYPE_CHECKING:
    from collections.abc import Iterable

SECRET = "qwxzjkv"  # noqa: S105
"""Stands in every row that signing in rests on, and nowhere in the copy."""
NUMBER = "+14055550142"

COPIED = {
    "account.EmailAddress.user": "email-addresses",
    "access.Invitation.accepted_by": "invitations",
    "access.PendingClaim.account": "accounts-to-confirm",
    "access.PendingClaim.user": "accounts-to-confirm",
    "access.SignIn.user": "sign-ins",
    "alerts.Alert.account": "alerts",
    "alerts.AlertRecipient.user": "alerts",
    "alerts.AlertSetting.account": "alert-settings",
    "alerts.AlertSetting.user": "alert-settings",
    "billing.Bill.account": "bills",
    "comparison.OptOut.account": "left-out-of-comparisons",
    "comparison.OptOut.by": "left-out-of-comparisons",
    "core.ApiToken.user": "api-tokens",
    "customers.AccountAccess.account": "access",
    "customers.AccountAccess.user": "access",
    "mfa.Authenticator.user": "passkeys-and-second-steps",
    "notifications.Message.user": "messages",
    "notifications.Phone.user": "telephones",
    "resident.Preference.user": "preferences",
    "service.RequestStep.by": "service-requests",
    "service.ServiceRequest.account": "service-requests",
    "service.ServiceRequest.asked_by": "service-requests",
    "usersessions.UserSession.user": "sessions",
}
"""Which file of the copy has the rows that a link makes a person's own."""

FOUND_WITHOUT_A_LINK = {"profile", "received-texts"}
"""The person's own row, and texts from their telephone."""

LEFT_OUT = {
    "the water used, in usage/, comes from reads in the time of the occupancy": {"customers.Occupancy.account"},
    "of the account, not of one of its people; the bills in the copy say what came of it": {
        "billing.Adjustment.account",
        "billing.BillDelivery",
        "billing.BillLine",
        "billing.BillSegment",
        "billing.BilledDial",
        "billing.BillingAccount.account",
        "billing.BudgetPlan.account",
        "billing.Charge.account",
        "billing.Deposit.account",
        "billing.Letter",
        "billing.ServiceAgreement.account",
        "billing.WinterAverageOf.account",
        "comparison.PeerHome.account",
        "customers.AccountAlias.account",
        "ledger.Posting.account",
        "notifications.Message.account",
    },
    "names somebody else: whom a holder invited, or whom else the account let in": {
        "access.Invitation.account",
        "access.Invitation.invited_by",
    },
    "a secret that is good for minutes": {"account.EmailConfirmation", "notifications.PhoneCode.user"},
    "the log of who changed what; what staff looked at stands on the page of sign-ins": {"core.AuditEntry.actor"},
    "rights of staff, who are no customers": {"core.User_groups.user", "core.User_user_permissions.user"},
    "what staff did in their office": {
        "billing.Adjustment.decided_by",
        "billing.Adjustment.requested_by",
        "billing.BillRun.issued_by",
        "billing.BillRun.started_by",
        "billing.OutageGrace.ended_by",
        "billing.OutageGrace.started_by",
        "billing.PrintBatch",
        "billing.RateBook.approved_by",
        "billing.RateBook.loaded_by",
        "billing.WinterAverageOf.set_by",
        "fleet.CollectorCommand.actor",
        "ledger.JournalEntry.actor",
        "metering.OfficeRead.entered_by",
        "metering.ReadFinding.resolved_by",
        "metering.ReadVerdict.decided_by",
        "service.Banner.made_by",
        "service.ServiceRequest.taken_by",
    },
}


def links(tables: Iterable[type[models.Model]]) -> set[str]:
    """Each column that points to a sign-in or an account, and each table that points there by way of other tables."""
    pointing = {
        table._meta.label: {
            column.name: column.related_model._meta.label
            for column in table._meta.concrete_fields
            if isinstance(column.related_model, type)
        }
        for table in tables
    }
    ends = {User._meta.label, Account._meta.label}
    found = {f"{table}.{name}" for table, names in pointing.items() for name, to in names.items() if to in ends}
    reached = {one.rpartition(".")[0] for one in found}
    while more := {table for table, names in pointing.items() if reached & set(names.values())} - reached - ends:
        reached |= more
        found |= more
    return found


def test_every_table_that_points_to_a_person_is_copied_or_named_with_a_reason() -> None:
    named = [*COPIED, *(one for group in LEFT_OUT.values() for one in group)]
    assert len(named) == len(set(named))
    assert links(apps.get_models(include_auto_created=True)) == set(named)


@isolate_apps("portal.core")
def test_a_new_table_is_seen_directly_and_by_way_of_others() -> None:
    class Diary(models.Model):
        writer = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+")

        class Meta:
            app_label = "core"

    class Page(models.Model):
        diary = models.ForeignKey(Diary, on_delete=models.CASCADE, related_name="+")

        class Meta:
            app_label = "core"

    tables = apps.get_models(include_auto_created=True)
    assert links([*tables, Diary, Page]) - links(tables) == {"core.Diary.writer", "core.Page"}


@pytest.fixture
def ana(db: None) -> User:
    """A person with a row in every kind of data."""
    user, moment = person("ana@example.org", name="Ana"), datetime.now(UTC)
    account = metered_home(moment - timedelta(days=2), user=user).service_point.occupancies.get().account
    of_both: dict[str, Any] = {"account": account, "user": user}
    EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
    EmailAddress.objects.create(user=user, email="new@example.org")
    credential = {"name": "Key on the ring", "credential": {"id": SECRET}}
    Authenticator.objects.create(user=user, type="webauthn", data=credential, last_used_at=moment)
    Authenticator.objects.create(user=user, type="totp", data={"secret": SECRET})
    Authenticator.objects.create(user=user, type="recovery_codes", data={"seed": SECRET, "used_mask": 0})
    UserSession.objects.create(user=user, ip="192.0.2.7", user_agent="Firefox", session_key=SECRET)
    Preference.objects.create(user=user, unit="m3")
    PendingClaim.objects.create(user=user, account=Account.objects.create(number="2000002"), expires_at=moment)
    SignIn.objects.create(user=user, at=moment, succeeded=True)
    Invitation.objects.create(
        account=account, email=user.email, level="pay", invited_by=person("ben@example.org"),
        token_hash=b"1" * 32, sent_at=moment, expires_at=moment,
    )  # fmt: skip
    make_token(user, name="home")
    Message.objects.create(
        key="m",
        user=user,
        to=user.email,
        text=SECRET,
        secret=True,
        queued_at=moment,
        next_try_at=moment,
        sent_at=moment,
    )
    Phone.objects.create(user=user, number=NUMBER, consented_at=moment, consent_text="yes", verified_at=moment)
    ReceivedText.objects.create(provider_id="t", number=NUMBER, kind="help", text="HELP", received_at=moment)
    asked = ServiceRequest.objects.create(
        key="r", account=account, asked_by=user, kind="other", made_at=moment, state_at=moment
    )
    RequestStep.objects.create(request=asked, at=moment, state="received", by=user)
    AlertSetting.objects.create(**of_both, kind="leak", on=False, changed_at=moment)
    alert = Alert.objects.create(
        key="a", kind="leak", account=account, since=moment, happened_at=moment, opened_at=moment
    )
    AlertRecipient.objects.create(alert=alert, user=user, told_at=moment)
    OptOut.objects.create(account=account, by=user, since=moment)
    Bill.objects.create(
        account=account, number="B1", state="issued", period_start=date(2026, 5, 1), period_end=date(2026, 6, 1),
        bill_date=date(2026, 6, 2), due_date=date(2026, 6, 20), calculated_at=moment, issued_at=moment,
    )  # fmt: skip
    return user


def rows_in(files: dict[str, bytes]) -> dict[str, Any]:
    """The rows of each kind of data in a copy."""
    return {name.removesuffix(".json"): json.loads(text) for name, text in files.items() if name.endswith(".json")}


def test_every_kind_of_data_is_in_the_copy_and_no_secret(ana: User) -> None:
    files = files_of(ana)
    rows = rows_in(files)
    assert set(rows) == {*COPIED.values(), *FOUND_WITHOUT_A_LINK}
    assert [name for name, found in rows.items() if not found] == []
    assert SECRET.encode() not in b"".join(files.values())
    factors = rows["passkeys-and-second-steps"]
    assert [(one["kind"], one["name"]) for one in factors] == [
        ("passkey", "Key on the ring"),
        ("authenticator-app", ""),
        ("recovery-codes", ""),
    ]
    assert factors[0]["last_used_at"] is not None
    assert rows["preferences"] == [{"unit": "m3"}]
    assert rows["accounts-to-confirm"][0]["account"] == "2000002"
    assert [one["email"] for one in rows["email-addresses"]] == ["ana@example.org", "new@example.org"]
    assert rows["sessions"][0]["address"] == "192.0.2.7"
    assert rows["left-out-of-comparisons"][0]["account"] == rows["access"][0]["account"] == "1000001"


def test_nobody_elses_rows_are_in_the_copy(ana: User) -> None:
    files = files_of(person("stranger@example.org"))
    assert [name for name, rows in rows_in(files).items() if rows] == ["profile"]
    assert [name for name in files if name.startswith("usage/")] == []


def test_the_end_of_a_login_leaves_no_row_of_any_kind(ana: User) -> None:
    StoppedNumber.objects.create(number=NUMBER, stopped_at=datetime.now(UTC), source="text")
    Session.objects.create(session_key=SECRET, session_data="", expire_date=datetime.now(UTC) + timedelta(days=14))
    delete_login(ana)
    assert not Session.objects.exists()
    assert {kind.name for kind in personal_data() if list(kind.rows(ana))} == {"profile", "access"}
    assert OptOut.objects.get().by is None
    assert StoppedNumber.objects.get().number == NUMBER


def test_texts_of_a_telephone_that_two_people_have_proven_are_in_nobodys_copy(ana: User) -> None:
    moment = datetime.now(UTC)
    ben = User.objects.get(email="ben@example.org")
    Phone.objects.create(user=ben, number=NUMBER, consented_at=moment, consent_text="yes", verified_at=moment)
    texts = next(kind for kind in personal_data() if kind.name == "received-texts")
    assert [list(texts.rows(one)) for one in (ana, ben)] == [[], []]
    assert texts.erase(ben) == 0
    assert ReceivedText.objects.get().text == "HELP"
