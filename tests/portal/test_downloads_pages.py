"""The page that gives out files: who gets what, what it says of bad days, and how a file is sent."""

from __future__ import annotations

import csv
import io
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from django.test import AsyncClient

from portal.customers.models import AccountAccess
from portal.metering.usage import usage
from tests.portal.building import person
from tests.portal.metered_homes import Home, metered_home

if TYPE_CHECKING:
    from django.test import Client

    from portal.core.models import User

pytestmark = pytest.mark.django_db
START = datetime(2026, 5, 1, 5, tzinfo=UTC)
ASKED = {"form": "csv", "first": "2026-05-02", "last": "2026-05-04", "every": "day", "unit": "l"}


@pytest.fixture
def ana() -> User:
    return person("ana@example.org")


@pytest.fixture
def home(ana: User) -> Home:
    return metered_home(START, user=ana).read_daily(6)


def address(home: Home) -> str:
    return f"/usage/{home.service_point.public_id}/download/"


def body(response: object) -> bytes:
    return b"".join(response.streaming_content)  # type: ignore[attr-defined]


def test_the_file_is_the_page(client: Client, ana: User, home: Home) -> None:
    client.force_login(ana)
    for form, start in (("csv", b"place,"), ("xlsx", b"PK"), ("xml", b"<?xml")):
        response = client.get(address(home), {**ASKED, "form": form})
        assert response.status_code == 200
        assert response["Content-Disposition"] == (
            f'attachment; filename="water-use-1-elm-street-2026-05-02-2026-05-04-day.{form}"'
        )
        assert "no-store" in response["Cache-Control"]
        content = body(response)
        assert content.startswith(start)
        if form == "csv":
            rows = list(csv.DictReader(io.StringIO(content.decode(), newline="")))
            page = usage(home.service_point, start=START + timedelta(days=1), end=START + timedelta(days=4),
                         resolution="day")  # fmt: skip
            assert len(rows) == 3
            assert sum(int(row["counts"]) for row in rows) == page.total_counts == 1800
            assert [Decimal(row["volume"]) for row in rows] == [Decimal("600.000")] * 3


def test_strangers_and_former_guests_get_nothing(client: Client, ana: User, home: Home) -> None:
    assert client.get(address(home), ASKED).status_code == 302
    ben = person("ben@example.org")
    metered_home(START, number=2, user=ben)
    client.force_login(ben)
    assert client.get(address(home), ASKED).status_code == 404
    client.force_login(person("staff@example.org", is_staff=True))
    assert client.get(address(home), ASKED).status_code == 404
    client.force_login(ana)
    AccountAccess.objects.filter(user=ana).update(ended_at=datetime.now(UTC))
    assert client.get(address(home), ASKED).status_code == 404


@pytest.mark.parametrize(
    ("changed", "marked", "words"),
    [
        ({"first": "2026-02-30"}, "first", "year, month and day"),
        ({"last": "yesterday"}, "last", "year, month and day"),
        ({"last": "2026-05-01"}, "last", "before the first day"),
        ({"first": "2020-01-01"}, "first", "three years"),
        ({"first": "2021-05-01", "last": "2021-05-02"}, "first", "no water use"),
        ({"form": "pdf"}, "", "file types"),
        ({"every": "century"}, "every", "one row covers"),
        ({"unit": "hogshead"}, "unit", "one of the units"),
    ],
)
def test_what_is_wrong_is_said_at_the_field(
    client: Client, ana: User, home: Home, changed: dict[str, str], marked: str, words: str
) -> None:
    client.force_login(ana)
    response = client.get(address(home), {**ASKED, **changed})
    assert response.status_code == 422
    page = response.content.decode()
    assert words in page.partition('id="download-error"')[2].partition("</p>")[0]
    if marked:
        field = page.partition(f'id="{marked}"')[2].partition(">")[0]
        assert 'aria-invalid="true"' in field
        assert "download-error" in field


def test_the_page_offers_days_of_ones_own_time(client: Client, ana: User, home: Home) -> None:
    client.force_login(ana)
    page = client.get(address(home), {"first": "1999-01-01", "last": "2300-01-01", "every": "week"}).content.decode()
    assert 'name="first" value="2026-05-01" min="2026-05-01"' in page
    from_chart = client.get(address(home), {"first": "2026-05-02", "until": "2026-05-04"}).content.decode()
    assert 'name="last" value="2026-05-03"' in from_chart
    assert 'id="places"' not in page
    metered_home(START, number=2, user=ana)
    page = client.get(address(home)).content.decode()
    assert 'id="places"' in page
    usage_page = client.get(f"/usage/{home.service_point.public_id}/?by=day&date=2026-05-03").content.decode()
    assert "download/?first=2026-05-01&amp;until=2026-06-01&amp;every=day" in usage_page


@pytest.mark.django_db(transaction=True)
def test_under_asgi_the_file_is_streamed_too(async_client: AsyncClient) -> None:
    """No warning (they are errors here) and no gathering: the pieces come one by one, from the request's own thread."""
    from asgiref.sync import async_to_sync

    ana = person("ana@example.org")
    home = metered_home(START, user=ana).read_daily(3, reads_a_day=1)
    async_client.force_login(ana)

    async def fetch() -> list[bytes]:
        response = await async_client.get(address(home), {**ASKED, "every": "hour"})
        assert response.is_async
        return [piece async for piece in response.streaming_content]  # type: ignore[attr-defined]

    pieces = async_to_sync(fetch)()
    assert len(pieces) == 2
    assert b"".join(pieces).count(b"\r\n") == 1 + 72
    assert date(2026, 5, 2).isoformat().encode() in pieces[1]
