"""What is held about a person: the table of providers, its export, the end of a login, and what time takes away."""

from __future__ import annotations

import csv
import io
import json
import re
import time
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from allauth.account.internal.flows.login import (
    _AUTHENTICATION_METHODS_USER_SESSION_KEY,
    AUTHENTICATION_METHODS_SESSION_KEY,
)
from allauth.account.models import EmailAddress
from django.apps import apps
from django.db import connection, models

from domain.errors import ConfigError
from portal.access.models import Invitation, SignIn
from portal.alerts.models import Alert, AlertRecipient, AlertSetting
from portal.billing.models import BillingAccount
from portal.core.errors import Refused
from portal.core.models import ApiToken, AuditEntry
from portal.core.personal_data import personal_data
from portal.core.tokens import make_token
from portal.customers.models import AccountAccess
from portal.customers.services import grant_access
from portal.downloads.leaving import FAREWELL, delete_login, held_alone
from portal.downloads.own_data import export
from portal.downloads.retention import CLASSES, FILE, forget_old, kept_days
from portal.notifications.models import Message, ReceivedText
from portal.notifications.notify import EVERY_WAY, Notice, notify
from portal.notifications.services import code_text
from tests.portal import billed
from tests.portal.building import person
from tests.portal.metered_homes import metered_home

if TYPE_CHECKING:
    from django.test import Client
    from pytest_django.fixtures import SettingsWrapper

    from portal.core.models import User

pytestmark = pytest.mark.django_db
MARK = "zyxwvut"
"""Stands in everything that is the person's own, and nowhere else."""
START = datetime(2026, 5, 1, 5, tzinfo=UTC)


@pytest.fixture
def ana() -> User:
    """A person with a bit of everything."""
    from portal.notifications.models import Phone

    user = person(f"{MARK}@example.org", name=f"Ana {MARK}", username=f"ana-{MARK}")
    EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
    home = metered_home(START, user=user).read_daily(2)
    account = home.service_point.occupancies.get().account
    BillingAccount.objects.create(account=account, cycle=billed.cycle(), email=user.email)
    moment = datetime.now(UTC)
    SignIn.objects.create(user=user, at=moment, succeeded=True, method="password", device=f"Firefox {MARK}")
    Phone.objects.create(
        user=user, number="+14055550142", consented_at=moment, consent_text=MARK, consent_language="en",
        verified_at=moment,
    )  # fmt: skip
    Invitation.objects.create(
        account=account, email=f"guest-of-{MARK}@example.org", level="view-usage", invited_by=user,
        token_hash=b"1" * 32, sent_at=moment, expires_at=moment + timedelta(days=7),
    )  # fmt: skip
    Invitation.objects.create(
        account=account, email=user.email, level="view-usage", invited_by=person("ben@example.org"),
        token_hash=b"2" * 32, sent_at=moment, expires_at=moment + timedelta(days=7),
    )  # fmt: skip
    make_token(user, name=f"home of {MARK}")
    alert = Alert.objects.create(
        key="leak:1", kind="leak", account=account, since=moment, happened_at=moment, opened_at=moment
    )
    AlertRecipient.objects.create(alert=alert, user=user, told_at=moment, answer="other", note=f"{MARK} was away")
    AlertSetting.objects.create(user=user, account=account, kind="leak", on=False, changed_at=moment)
    notify(user, Notice("t", "account", "Hello", f"Hello {MARK}", f"Hello {MARK}"), by=EVERY_WAY)
    Message.objects.update(sent_at=moment)
    return user


def where_it_stands(*words: str) -> set[str]:
    """Every text column of every table in which one of the words stands."""
    found = set()
    for model in apps.get_models(include_auto_created=True):
        for field in model._meta.concrete_fields:
            if isinstance(field, models.CharField | models.TextField | models.JSONField):
                table, column = (connection.ops.quote_name(name) for name in (model._meta.db_table, field.column))
                with connection.cursor() as cursor:
                    for word in words:
                        cursor.execute(
                            f"SELECT count(*) FROM {table} WHERE lower(CAST({column} AS text)) LIKE %s",  # noqa: S608
                            [f"%{word.lower()}%"],
                        )
                        if cursor.fetchone()[0]:
                            found.add(f"{model._meta.label}.{field.name}")
    return found


def files_of(user: User) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(b"".join(export(user)))) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def recent(client: Client, user: User) -> None:
    """Signed in, and the password was asked for again a moment ago."""
    client.force_login(user)
    session = client.session
    session[AUTHENTICATION_METHODS_SESSION_KEY] = [{"method": "password", "at": time.time(), "reauthenticated": True}]
    session[_AUTHENTICATION_METHODS_USER_SESSION_KEY] = str(user.pk)
    session.save()


def test_every_provider_is_there_and_answers(ana: User) -> None:
    kinds = personal_data()
    assert len({kind.name for kind in kinds}) == len(kinds)
    for kind in kinds:
        assert re.fullmatch(r"[a-z0-9-]+", kind.name), kind.name
        rows = list(kind.rows(ana))
        assert all(isinstance(row, dict) for row in rows), kind.name
        assert len({tuple(row) for row in rows}) <= 1, f"the rows of {kind.name} have different columns"
    assert next(iter(kinds[0].rows(ana)))["email"] == ana.email


def test_the_copy_has_every_kind_twice_and_the_usage(ana: User) -> None:
    files = files_of(ana)
    for kind in personal_data():
        rows = json.loads(files[f"{kind.name}.json"])
        assert len(list(csv.reader(io.StringIO(files[f"{kind.name}.csv"].decode())))) == (len(rows) + 1 if rows else 0)
    assert json.loads(files["profile.json"])[0]["name"] == f"Ana {MARK}"
    assert [row["device"] for row in json.loads(files["sign-ins.json"])] == [f"Firefox {MARK}"]
    usage = [name for name in files if name.startswith("usage/")]
    rows = list(csv.DictReader(io.StringIO(files[usage[0]].decode())))
    assert len(usage) == 1
    assert sum(int(row["counts"] or 0) for row in rows) == 1200
    assert AuditEntry.objects.filter(action="person.exported", actor=ana).count() == 1


def test_nobody_gets_anybody_elses(ana: User) -> None:
    stranger = person("stranger@example.org")
    assert MARK.encode() not in b"".join(files_of(stranger).values())


def test_nothing_personal_is_left_but_the_last_letter(ana: User) -> None:
    access = AccountAccess.objects.get(user=ana)
    assert {"core.User.email", "access.SignIn.device"} <= where_it_stands(MARK)
    assert list(held_alone(ana)) == [access.account]
    delete_login(ana)
    letter = Message.objects.get(key__startswith=FAREWELL)
    assert (letter.to, MARK in letter.text) == (f"{MARK}@example.org", False)
    assert code_text(letter.public_id) in letter.text
    assert where_it_stands(MARK, "4055550142") == {"notifications.Message.to"}
    Message.objects.filter(pk=letter.pk).update(sent_at=datetime.now(UTC))
    assert forget_old(datetime.now(UTC)) == {"farewell-addresses": 1}
    assert where_it_stands(MARK, "4055550142") == set()
    ana.refresh_from_db()
    access.refresh_from_db()
    assert (ana.is_active, ana.has_usable_password(), ana.email) == (False, False, f"{ana.public_id}@gone.invalid")
    assert access.ended_at is not None
    assert not ApiToken.objects.filter(user=ana).exists()
    assert not AlertSetting.objects.filter(user=ana).exists()
    billing = BillingAccount.objects.get(account=access.account)
    assert (billing.paper, billing.email) == (True, "")
    entry = AuditEntry.objects.get(action="person.left")
    assert (entry.actor, entry.target_id) == (ana, ana.public_id)
    with pytest.raises(Refused, match="ended already"):
        delete_login(ana)


def test_staff_and_second_holders(ana: User) -> None:
    with pytest.raises(Refused, match="administrator"):
        delete_login(person("staff@example.org", is_staff=True))
    ben = person("second@example.org")
    grant_access(AccountAccess.objects.get(user=ana).account, ben, at=START)
    assert not held_alone(ana).exists()


def test_the_pages_ask_for_the_password_and_for_a_word(client: Client, ana: User) -> None:
    client.force_login(ana)
    page = client.get("/profile/privacy/").content.decode()
    assert "as long as the utility must" in page
    for path in ("copy/", "delete/"):
        answer = client.get(f"/profile/privacy/{path}")
        assert (answer.status_code, answer.url.split("?")[0]) == (302, "/accounts/reauthenticate/")  # type: ignore[attr-defined]
    recent(client, ana)
    copy = client.get("/profile/privacy/copy/")
    assert b"".join(copy.streaming_content).startswith(b"PK")  # type: ignore[attr-defined]
    page = client.get("/profile/privacy/delete/").content.decode()
    assert 'id="alone"' in page
    assert "1000001" in page
    refused = client.post("/profile/privacy/delete/")
    assert (refused.status_code, "Tick the box" in refused.content.decode()) == (422, True)
    ana.refresh_from_db()
    assert ana.is_active
    done = client.post("/profile/privacy/delete/", {"understood": "yes"})
    assert (done.status_code, 'id="deleted"' in done.content.decode()) == (200, True)
    assert client.get("/profile/").status_code == 302


# -- tokens ---------------------------------------------------------------------------------------------------------


def test_a_token_is_made_shown_once_and_taken_back(client: Client, ana: User) -> None:
    ApiToken.objects.all().delete()
    recent(client, ana)
    page = client.post("/profile/tokens/make/", {"name": "my home", "scopes": ["usage:read"], "days": "30"})
    token = re.search(r'id="token">(hwt_[\w-]+)<', page.content.decode())
    assert token is not None
    assert "no-store" in page["Cache-Control"]
    row = ApiToken.objects.get(user=ana)
    assert (row.name, row.scopes) == ("my home", "usage:read")
    assert timedelta(days=29) < row.expires_at - datetime.now(UTC) <= timedelta(days=30)
    assert token[1] not in client.get("/profile/tokens/").content.decode()
    headers = {"Authorization": f"Bearer {token[1]}"}
    assert client.get("/api/v1/me", headers=headers).status_code == 200
    assert client.get("/api/v1/bills", headers=headers).status_code == 401
    client.force_login(person("ben2@example.org"))
    assert client.post(f"/profile/tokens/{row.public_id}/revoke/").status_code == 404
    client.force_login(ana)
    assert client.post(f"/profile/tokens/{row.public_id}/revoke/").status_code == 303
    assert client.get("/api/v1/me", headers=headers).status_code == 401
    actions = AuditEntry.objects.filter(target_id=row.public_id).values_list("action", "actor")
    assert set(actions) == {("token.make", ana.pk), ("token.revoke", ana.pk)}


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"name": " "}, "Give the token a name"),
        ({"scopes": []}, "at least one thing"),
        ({"scopes": ["everything"]}, "at least one thing"),
        ({"days": "366"}, "1 to 365 days"),
        ({"days": "-1"}, "1 to 365 days"),
        ({"days": "²"}, "1 to 365 days"),
    ],
)
def test_a_faulty_token_is_refused(client: Client, ana: User, changed: dict[str, object], words: str) -> None:
    recent(client, ana)
    before = ApiToken.objects.count()
    page = client.post("/profile/tokens/make/", {"name": "x", "scopes": ["usage:read"], "days": "30", **changed})
    assert (page.status_code, words in page.content.decode()) == (422, True)
    assert ApiToken.objects.count() == before


# -- retention ------------------------------------------------------------------------------------------------------


def test_what_is_past_its_time_goes_and_nothing_else(ana: User) -> None:
    moment = datetime.now(UTC)
    Message.objects.exclude(channel="email").delete()
    old, young = Message.objects.get(), Message.objects.get()
    young.pk, young.public_id, young.key = None, "2222222222222", "young"
    young.save()
    long_ago = moment - timedelta(days=731)
    Message.objects.filter(pk=old.pk).update(sent_at=long_ago, queued_at=long_ago)
    waiting = Message.objects.get(key="young")
    waiting.pk, waiting.public_id, waiting.key, waiting.sent_at = None, "3333333333333", "waiting", None
    waiting.queued_at = long_ago
    waiting.save()
    AuditEntry.objects.create(action="x", actor_label="test", at=moment - timedelta(days=7 * 365 + 1))
    ApiToken.objects.update(expires_at=moment - timedelta(days=91))
    reads = apps.get_model("metering", "RegisterDay").objects.count()
    assert forget_old(moment) == {"messages": 1, "api-tokens": 1, "audit": 1}
    assert set(Message.objects.values_list("key", flat=True)) == {"young", "waiting"}
    assert apps.get_model("metering", "RegisterDay").objects.count() == reads
    entry = AuditEntry.objects.get(action="retention")
    assert (entry.actor_label, entry.detail) == ("worker", {"messages": 1, "api-tokens": 1, "audit": 1})
    assert forget_old(moment) == {}
    assert AuditEntry.objects.filter(action="retention").count() == 1


def test_every_class_is_kept_for_its_days_to_the_day(ana: User) -> None:
    """Each kind of row, once a day older than its class and once a day younger; what still runs stays."""
    now, account, ben = datetime.now(UTC), AccountAccess.objects.get(user=ana).account, person("ben3@example.org")
    AlertRecipient.objects.all().delete()
    for model in (Alert, Invitation, ApiToken, Message):
        model.objects.all().delete()
    for number, (day, gone) in enumerate({-1: "old", 1: "young"}.items()):
        year, month = timedelta(days=365 - day), timedelta(days=90 - day)

        def ago(years: int, day: int = day) -> datetime:
            return now - timedelta(days=365 * years - day)

        ReceivedText.objects.create(provider_id=gone, number="+1405", kind="other", received_at=ago(2))
        Message.objects.create(key=gone, to="a@b.c", queued_at=ago(2), next_try_at=now, failed_at=ago(2))
        for end, name in ((ago(3), gone), (None, f"{gone} running")):
            Alert.objects.create(
                key=name, kind="leak", account=account, since=ago(9), happened_at=ago(9), opened_at=ago(9), ended_at=end
            )
        for place, moment in enumerate(("accepted_at", "revoked_at", "expires_at")):
            row = Invitation(
                account=account, email=f"{gone}-{moment}@example.org", level="pay", invited_by=ben,
                token_hash=bytes([number, place]) * 16, sent_at=now - 2 * year, expires_at=now,
            )  # fmt: skip
            setattr(row, moment, now - year)
            row.save()
        for moment in ("revoked_at", "expires_at"):
            _token, token = make_token(ben, name=f"{gone} {moment}")
            ApiToken.objects.filter(pk=token.pk).update(**{moment: now - month})
    AuditEntry.objects.all().delete()
    for day, gone in ((1, "old"), (-1, "young")):
        AuditEntry.objects.create(action=gone, actor_label="test", at=now - timedelta(days=7 * 365 + day))
    gone_now = {"messages": 1, "received-texts": 1, "alerts": 1, "invitations": 3, "api-tokens": 2, "audit": 1}
    assert forget_old(now) == gone_now
    assert set(AuditEntry.objects.values_list("action", flat=True)) == {"young", "retention"}
    assert set(Alert.objects.values_list("key", flat=True)) == {"old running", "young", "young running"}
    left = [*Message.objects.values_list("key"), *ReceivedText.objects.values_list("provider_id")]
    left += [*Invitation.objects.values_list("email"), *ApiToken.objects.values_list("name")]
    assert all(one[0].startswith("young") for one in left)


def test_a_utility_chooses_its_days(settings: SettingsWrapper, tmp_path: Path, ana: User) -> None:
    settings.PORTAL_DIR = tmp_path
    (tmp_path / FILE).write_text("messages = 0\naudit = 30\n")
    assert {one.name: days for one, days in kept_days()}["audit"] == 30
    Message.objects.update(sent_at=START - timedelta(days=5000), queued_at=START - timedelta(days=5000))
    assert "messages" not in forget_old(datetime.now(UTC))
    (tmp_path / FILE).write_text('reads = 1\nmessages = "long"\n')
    with pytest.raises(ConfigError, match="reads = 1(.|\n)*messages"):
        kept_days()


def test_evidence_of_bills_is_touched_by_no_job() -> None:
    """No class that a job empties is of signed batches, reads, bills or the ledger."""
    for one in CLASSES:
        if one.old is not None:
            label = one.old(datetime.now(UTC)).model._meta.app_label
            assert label in {"notifications", "alerts", "access", "core"}, one.name
