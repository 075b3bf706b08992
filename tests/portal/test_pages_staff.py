"""The staff pages: for staff alone, read-only, and a look at usage leaves its trace."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest
from django.test import Client

from domain.ids import Stream
from domain.reading import EventKind
from portal.core.clock import now
from portal.core.models import AuditEntry
from portal.fleet.models import Meter
from portal.ingest.apply import apply_batch
from portal.metering.reconcile import held_reads
from tests.portal.building import NOON, enrolled, event, home, person, read, total

if TYPE_CHECKING:
    from pytest_django.fixtures import SettingsWrapper

pytestmark = pytest.mark.django_db
LISTS = ("collectors", "meters", "places", "batches", "refused", "foreign", "commands", "leaks", "events", "audit")


@pytest.fixture
def staff() -> Client:
    client = Client()
    client.force_login(person("sam@example.org", is_staff=True))
    return client


@pytest.mark.parametrize("name", LISTS)
def test_lists_are_for_staff_alone(staff: Client, name: str) -> None:
    home(total(), NOON, user=person())
    resident, stranger = Client(), Client()
    resident.force_login(person("resident@example.org"))
    assert staff.get(f"/staff/{name}/?q=a&page=2").status_code == 200
    assert resident.get(f"/staff/{name}/").status_code == 403
    assert stranger.get(f"/staff/{name}/").url.startswith("/accounts/login/")
    assert staff.post(f"/staff/{name}/").status_code == {"refused": 400, "foreign": 404}.get(name, 405)


def test_an_unknown_list_is_not_there(staff: Client) -> None:
    assert staff.get("/staff/secrets/").status_code == 404


def test_search_finds_a_place_by_account_address_and_meter(staff: Client) -> None:
    home(total("EFE-00000001"), NOON, user=person(), address="12 Elm Street", account="1000123")
    home(total("EFE-00000002"), NOON, address="99 Pine Road")
    for text in ("1000123", "elm", "EFE-00000001"):
        page = staff.get("/staff/places/", {"q": text}).content.decode()
        assert "12 Elm Street" in page
        assert "99 Pine Road" not in page


def test_more_rows_than_a_page_holds_are_on_the_next(staff: Client) -> None:
    for n in range(53):
        home(total(f"EFE-{n:08}"), NOON, address=f"{n} Elm Street")
    first, second = (staff.get(f"/staff/meters/?page={n}").content.decode() for n in (1, 2))
    assert (first.count("<tr"), second.count("<tr")) == (51, 4)
    assert "page=2" in first
    assert "page=1" in second


def test_a_look_at_usage_needs_a_reason_and_is_written_down(staff: Client) -> None:
    service_point, _ = home(total(), NOON - timedelta(days=3), user=person())
    address = f"/staff/places/{service_point.public_id}/usage/"
    assert "usage-table" not in staff.get(address).content.decode()
    for reason in ("", "   x   ", "?" * 300):
        refused = staff.post(address, {"reason": reason})
        assert refused.status_code == 422
        assert 'aria-invalid="true"' in refused.content.decode()
    assert not AuditEntry.objects.filter(action="usage.look").exists()
    shown = staff.post(address, {"reason": " caller asked   about the May bill "})
    assert shown.status_code == 200
    assert "staff-table" in shown.content.decode()
    entry = AuditEntry.objects.get(action="usage.look")
    assert entry.actor is not None
    assert (entry.actor.email, entry.reason) == ("sam@example.org", "caller asked about the May bill")
    assert (entry.target_type, entry.target_id) == ("customers.servicepoint", service_point.public_id)


def test_a_resident_cannot_look_at_all() -> None:
    user = person()
    service_point, _ = home(total(), NOON - timedelta(days=3), user=user)
    client = Client()
    client.force_login(user)
    assert client.post(f"/staff/places/{service_point.public_id}/usage/", {"reason": "just curious"}).status_code == 403
    assert not AuditEntry.objects.filter(action="usage.look").exists()


def test_a_meter_of_which_two_collectors_speak_is_moved_by_staff(staff: Client) -> None:
    moment = now().replace(microsecond=0) - timedelta(days=1)
    owner, other = (replace(enrolled(f"hw-{name}"), epoch=name.encode() * 4) for name in ("wall", "roof"))
    for box, count in ((owner, 5), (other, 7)):
        assert apply_batch(box.sealed([read(total(), count, moment + timedelta(hours=count))]), box.name, moment)
    page = staff.get("/staff/foreign/?q=EFE").content.decode()
    assert "hw-wall" in page
    assert "Move to hw-roof" in page
    start = (moment + timedelta(hours=6)).astimezone(ZoneInfo("America/Chicago"))
    meter = Meter.objects.get()
    form = {
        "meter": meter.public_id,
        "collector": "hw-roof",
        "start": f"{start:%Y-%m-%dT%H:%M:%S}",
        "reason": "new box",
    }
    for wrong in ({"start": "soon"}, {"reason": " "}, {"start": f"{start - timedelta(hours=2):%Y-%m-%dT%H:%M}"}):
        refused = staff.post("/staff/foreign/", form | wrong)
        assert refused.status_code == 422
        assert "errorlist" in refused.content.decode()
    assert staff.post("/staff/foreign/", form | {"meter": "zzz"}).status_code == 404
    assert staff.post("/staff/foreign/", form).status_code == 302
    assert "Move to" not in staff.get("/staff/foreign/").content.decode()
    assert sorted(row["count"] for row in held_reads()) == [5, 7]
    entry = AuditEntry.objects.get(action="meter.move")
    assert entry.actor is not None
    assert (entry.actor.email, entry.reason) == ("sam@example.org", "new box")


def test_a_collector_that_is_not_heard_is_called_quiet(staff: Client, settings: SettingsWrapper) -> None:
    box = enrolled()
    assert apply_batch(box.sign(box.batch([read(total(), 1, NOON)])), box.name, NOON)
    for minutes, state in ((59, "sending"), (61, "quiet")):
        moment = NOON + timedelta(minutes=minutes)
        settings.HEADWATER_CLOCK = f"scaled:1.0:{time.time()!r}:{moment.timestamp()!r}"
        assert f">{state}</span>" in staff.get("/staff/collectors/").content.decode()


def test_the_list_of_collectors_counts_what_is_missing_and_what_is_gone(staff: Client) -> None:
    box = enrolled()
    signed = [box.sign(box.batch([read(total(), n, NOON + timedelta(minutes=n))])) for n in range(1, 4)]

    def page_after(data: bytes) -> str:
        assert apply_batch(data, box.name, NOON)
        return staff.get("/staff/collectors/").content.decode()

    assert "nothing missing" in page_after(signed[0])
    assert "missing batches: 1, asked for" in page_after(signed[2])
    detail: dict[str, str | int] = {"epoch": box.epoch.hex(), "stream": 0, "first": 2, "last": 2}
    gone = event(EventKind.BATCHES_GONE, NOON, event_id="gone", **detail)
    assert "no longer has 1 of them" in page_after(box.sign(box.batch(events=[gone], stream=Stream.URGENT)))
    assert "nothing missing" in page_after(signed[1])
