"""Leak cases on the staff pages: by size and age, with what was said; a contact is written down."""

from __future__ import annotations

import csv
import io
import re
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from portal.alerts.kinds import Answer
from portal.alerts.models import Alert, AlertRecipient
from portal.core.clock import now
from portal.core.models import AuditEntry, User
from portal.core.services import utility_zone
from portal.customers.models import Account
from portal.metering.models import Installation, LeakCase
from tests.portal.building import home, total

if TYPE_CHECKING:
    from datetime import datetime

pytestmark = pytest.mark.django_db


@pytest.fixture
def staff() -> Client:
    client = Client()
    client.force_login(User.objects.create_user("sam@example.org", is_staff=True, name="Sam Staff"))
    return client


def leak(place: str, number: str, litres_per_h: int, hours: int, *, cleared: datetime | None = None) -> LeakCase:
    """A leak that began `hours` ago at a place where an account lives."""
    user = User.objects.create_user(f"{number}@example.org")
    point, _ = home(total(f"M-{number}"), now() - timedelta(days=90), user=user, address=place, account=number)
    Account.objects.filter(number=number).update(name=f"=Holder {number}")
    installation = Installation.objects.get(service_point=point)
    opened = {"litres_per_h": litres_per_h, "since": (now() - timedelta(hours=hours)).isoformat()}
    return LeakCase.objects.create(
        installation=installation,
        meter=installation.meter,
        alarm_id=number,
        rule="continuous",
        opened_at=now() - timedelta(hours=hours - 1),
        cleared_at=cleared,
        evidence={"opened": opened, **({"cleared": {"litres": 77}} if cleared else {})},
    )


def said(case: LeakCase, **words: object) -> None:
    user = User.objects.get(email=f"{case.alarm_id}@example.org")
    moment = case.opened_at
    account = Account.objects.get(number=case.alarm_id)
    alert = Alert.objects.create(
        key=f"leak:{case.alarm_id}", kind="leak", account=account, about=case.public_id,
        since=moment, happened_at=moment, opened_at=moment,
    )  # fmt: skip
    AlertRecipient.objects.create(alert=alert, user=user, **words)


def places(page: str) -> list[str]:
    return re.findall(r"\d+ (?:Elm|Oak|Pine|Fir)", page.partition("<table")[2])


@pytest.fixture
def cases() -> dict[str, LeakCase]:
    found = {
        "small": leak("1 Elm", "100001", 10, 30),
        "large": leak("2 Oak", "100002", 4_000, 3),
        "old": leak("3 Pine", "100003", 12, 700),
        "over": leak("4 Fir", "100004", 99, 60, cleared=now() - timedelta(hours=10)),
    }
    said(found["small"], answer=Answer.IRRIGATION.value, note="<b>drip</b> line", answered_at=now())
    said(found["large"], acknowledged_at=now())
    said(found["old"])
    return found


@pytest.mark.usefixtures("cases")
@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["2 Oak", "3 Pine", "1 Elm"]),
        ("?sort=total", ["2 Oak", "3 Pine", "1 Elm"]),
        ("?sort=age", ["3 Pine", "1 Elm", "2 Oak"]),
        ("?sort=new&state=all", ["2 Oak", "1 Elm", "4 Fir", "3 Pine"]),
        ("?state=answered", ["1 Elm"]),
        ("?state=acknowledged", ["2 Oak"]),
        ("?state=unheard", ["3 Pine"]),
        ("?state=cleared", ["4 Fir"]),
        ("?q=holder 100003", ["3 Pine"]),
        ("?q=m-100001&state=nonsense&sort=nonsense&page=0", ["1 Elm"]),
        ("?page=2", []),
    ],
)
def test_the_list_is_sorted_and_filtered(staff: Client, query: str, expected: list[str]) -> None:
    page = staff.get(f"/staff/leaks/{query}")
    assert page.status_code == 200
    assert places(page.content.decode()) == expected


@pytest.mark.usefixtures("cases")
def test_sizes_ages_and_answers_are_shown(staff: Client) -> None:
    page = staff.get("/staff/leaks/?state=all").content.decode()
    assert "1,057 gal/h (4,000 L/h)" in page
    assert "2,219 gal (8,400 L)" in page  # 12 l/h over 700 hours
    assert "29 d 4 h" in page
    assert "20 gal (77 L)" in page  # as the collector said at the end
    assert "This was the irrigation: &lt;b&gt;drip&lt;/b&gt; line" in page


def test_a_leak_is_told_by_the_clocks_of_the_utility(staff: Client, cases: dict[str, LeakCase]) -> None:
    local = cases["old"].opened_at.astimezone(utility_zone())
    page = staff.get(f"/staff/leaks/{cases['old'].public_id}/").content.decode()
    assert f"{local:%Y-%m-%d} {local.hour % 12 or 12}:{local:%M %p}" in page


@pytest.mark.usefixtures("cases")
def test_the_number_of_queries_does_not_grow_with_the_cases(staff: Client) -> None:
    def asked() -> int:
        with CaptureQueriesContext(
            connection,
        ) as queries:
            staff.get("/staff/leaks/?state=all")
        return len(queries)

    before = asked()
    for number in range(5):
        said(leak(f"{number} Birch", f"20000{number}", 5, 5), acknowledged_at=now())
    assert asked() == before


def test_a_contact_is_written_down_and_shown(staff: Client, cases: dict[str, LeakCase]) -> None:
    path = f"/staff/leaks/{cases['old'].public_id}/"
    today = now().astimezone(utility_zone()).date()
    for wrong in (
        {"note": "x", "on": today.isoformat()},
        {"note": "called, will repair", "on": (today + timedelta(days=1)).isoformat()},
        {"note": "called, will repair", "on": (today - timedelta(days=60)).isoformat()},
        {"note": "called, will repair", "on": "soon"},
    ):
        refused = staff.post(path, wrong)
        assert refused.status_code == 422
        assert 'aria-invalid="true"' in refused.content.decode()
    assert not AuditEntry.objects.filter(action="leak.contact").exists()
    yesterday = today - timedelta(days=1)
    assert staff.post(path, {"note": " called,  will repair", "on": yesterday.isoformat()}).status_code == 302
    entry = AuditEntry.objects.get(action="leak.contact")
    assert entry.actor is not None
    assert (entry.actor.email, entry.reason, entry.target_id) == (
        "sam@example.org", "called, will repair", cases["old"].public_id,
    )  # fmt: skip
    shown = f"{yesterday.isoformat()}: called, will repair"
    assert shown in staff.get("/staff/leaks/").content.decode()
    page = staff.get(path).content.decode()
    assert shown in page
    assert "Sam Staff" in page
    assert staff.get("/staff/leaks/bcdfghjkmnpqr/").status_code == 404


@pytest.mark.usefixtures("cases")
def test_the_file_holds_the_whole_list_without_formulas(staff: Client) -> None:
    answer = staff.get("/staff/leaks/leaks.csv?state=all&sort=age")
    rows = list(csv.DictReader(io.StringIO(answer.content.decode())))
    assert [row["address"] for row in rows] == ["3 Pine", "4 Fir", "1 Elm", "2 Oak"]
    assert rows[0]["name"] == "'=Holder 100003"
    assert (rows[0]["litres_per_hour"], rows[0]["litres"], rows[0]["state"]) == ("12", "8400", "unheard")
    assert AuditEntry.objects.get(action="leaks.file").detail == {"rows": 4, "state": "all"}
    stranger = Client()
    stranger.force_login(User.objects.get(email="100001@example.org"))
    assert stranger.get("/staff/leaks/leaks.csv").status_code == 403
