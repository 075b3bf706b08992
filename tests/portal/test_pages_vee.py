"""The staff pages about reads: who may see them, what they show, what each action does and writes down."""

from __future__ import annotations

import base64
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from portal.core.models import AuditEntry, User
from portal.metering.models import OfficeRead, ReadFinding, ReadVerdict
from portal.metering.reads import to_us
from portal.metering.usage import usage
from portal.metering.validation.services import validate
from tests.portal.building import person
from tests.portal.metered_homes import JULY, JUNE, MAY, Home, metered_home

if TYPE_CHECKING:
    from django.test.client import _MonkeyPatchedWSGIResponse as Response

pytestmark = pytest.mark.django_db


@pytest.fixture
def staff() -> User:
    return person("desk@example.org", is_staff=True)


@pytest.fixture
def desk(staff: User) -> Client:
    client = Client()
    client.force_login(staff)
    return client


@pytest.fixture
def swapped() -> Home:
    """A home whose meter was swapped on the first of June, without a word."""
    home = metered_home(user=person()).read_daily(31)
    other = Home(home.service_point, home.installation, home.register, 55, JUNE + timedelta(hours=1))
    other.read_daily(10, 700)
    return home


def the_finding() -> ReadFinding:
    return ReadFinding.objects.get()


def act(client: Client, finding: ReadFinding, action: str, **values: str) -> Response:
    return client.post(reverse("staff:finding", args=[finding.public_id]), {"action": action, **values})


def used(home: Home) -> int:
    rows = usage(home.service_point, start=MAY, end=JULY, resolution="day").rows
    return sum(row.counts for row in rows if row.counts)


def test_only_staff_see_reads(swapped: Home) -> None:
    paths = [
        reverse("staff:findings"),
        reverse("staff:finding", args=[the_finding().public_id]),
        reverse("staff:enter-read"),
        reverse("staff:entered"),
        reverse("staff:import-reads"),
    ]
    resident, stranger = Client(), Client()
    resident.force_login(User.objects.get(email="ana@example.org"))
    for path in paths:
        assert stranger.get(path).status_code == 302
        assert resident.get(path).status_code == 403
        assert resident.post(path, {"action": "accept", "reason": "because"}).status_code in (403, 405)
    assert the_finding().resolved_at is None
    assert not OfficeRead.objects.exists()


def test_a_forged_request_is_refused(staff: User, swapped: Home) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(staff)
    assert act(client, the_finding(), "accept", reason="for a test").status_code == 403
    assert the_finding().resolved_at is None


def test_the_list_and_the_finding_show_what_was_seen_and_the_look_is_written_down(desk: Client, swapped: Home) -> None:
    page = desk.get(reverse("staff:findings")).content.decode()
    assert "1 Elm Street" in page
    assert "another meter" in page
    finding = the_finding()
    page = desk.get(reverse("staff:finding", args=[finding.public_id])).content.decode()
    for text in ("EFE-00000001", "28,600", ">55<", "left out", "the next read showed"):
        assert text in page, text
    look = AuditEntry.objects.get(action="finding.look")
    assert (look.target_id, look.reason) == (swapped.service_point.public_id, f"finding {finding.public_id}")


def test_to_accept_puts_the_reads_back(desk: Client, swapped: Home, staff: User) -> None:
    before = used(swapped)
    assert act(desk, the_finding(), "accept", reason="register was changed, dial set to 55").status_code == 302
    row = the_finding()
    assert (row.resolution, row.resolved_by) == ("accepted", staff)
    assert ReadVerdict.objects.get(superseded_by=None).verdict == "accepted"
    assert used(swapped) != before
    audited = AuditEntry.objects.get(action="finding.resolve")
    assert (audited.actor, audited.reason) == (staff, "register was changed, dial set to 55")


def test_to_leave_out_keeps_them_out(desk: Client, swapped: Home) -> None:
    before = used(swapped)
    assert act(desk, the_finding(), "exclude", reason="meter of another house").status_code == 302
    assert (the_finding().resolution, used(swapped)) == ("excluded", before)


def test_a_reason_is_needed_and_what_was_typed_stays(desk: Client, swapped: Home) -> None:
    for action in ("accept", "exclude", "visit", "estimate"):
        answer = act(desk, the_finding(), action, reason=" ")
        assert answer.status_code == 422, action
        assert "finding-error" in answer.content.decode()
    assert the_finding().resolved_at is None
    assert ReadVerdict.objects.count() == 1


def test_a_visit_keeps_it_open(desk: Client, swapped: Home) -> None:
    act(desk, the_finding(), "visit", reason="look at the serial number")
    row = the_finding()
    assert row.visit_ordered_at is not None
    assert row.resolved_at is None
    assert "somebody is sent" in desk.get(reverse("staff:findings")).content.decode()


def test_reads_are_left_out_corrected_and_estimated(desk: Client) -> None:
    home = metered_home(user=person()).read_daily(31).read_daily(20).read_daily(10, 9_000)
    [high] = [f for f in validate([home.service_point.pk], JUNE, JULY)[home.service_point.pk] if f.rule == "high"]
    finding = ReadFinding.objects.get(public_id=high.public_id)
    key = f"{home.register.public_id}.{to_us(JUNE + timedelta(days=25))}"
    wrong = act(desk, finding, "edit", read=key, count="12x", reason="photo of the dial")
    assert wrong.status_code == 422
    assert act(desk, finding, "edit", read=key, count="86000", reason="photo of the dial").status_code == 302
    edit = OfficeRead.objects.get()
    assert (edit.raw_count, edit.source, edit.evidence["counts"]) == (86_000, "edit", [85_600])
    assert act(desk, finding, "edit", read=key, count="86001", reason="photo of the dial").status_code == 422
    [again] = [f for f in validate([home.service_point.pk], JUNE, JULY)[home.service_point.pk] if f.rule == "spike"]
    other = ReadFinding.objects.get(public_id=again.public_id)
    first = f"{home.register.public_id}.{to_us(JUNE + timedelta(days=21))}"
    assert act(desk, other, "exclude", **{"from": first, "to": "", "reason": "frozen dial"}).status_code == 302
    [gap] = [f for f in validate([home.service_point.pk], JUNE, JULY)[home.service_point.pk] if f.rule == "no-boundary"]
    third = ReadFinding.objects.get(public_id=gap.public_id)
    # The edited read of the 25th is an actual one: from there the estimate goes on.
    assert act(desk, third, "estimate", boundary="end", reason="nobody could get in").status_code == 302
    estimate = OfficeRead.objects.get(source="estimate")
    assert estimate.raw_count > 86_000
    assert third.service_point_id == home.service_point.pk


def test_only_reads_of_the_place_can_be_chosen(desk: Client, swapped: Home) -> None:
    other = metered_home(number=2, user=person("ben@example.org")).read_daily(31)
    key = f"{other.register.public_id}.{to_us(MAY)}"
    finding = ReadFinding.objects.get(service_point=swapped.service_point)
    for chosen in (
        key,
        "x.1",
        "x",
        f"{swapped.register.public_id}.99999999999999999999",
        f"{swapped.register.public_id}.a",
    ):
        assert act(desk, finding, "edit", read=chosen, count="1", reason="for a test").status_code == 422, chosen
        answer = act(desk, finding, "exclude", **{"from": chosen, "reason": "for a test"})
        assert answer.status_code == 422, chosen
    assert act(desk, finding, "nonsense", reason="for a test").status_code == 422
    assert ReadVerdict.objects.count() == 1


def test_a_read_is_entered_corrected_and_taken_back(desk: Client, staff: User) -> None:
    home = metered_home(user=person()).read_daily(31)
    typed = {"meter": "EFE-00000001", "read_at": "2026-06-03T10:30", "count": "27000", "source": "manual"}
    answer = desk.post(reverse("staff:enter-read"), typed)
    assert answer.status_code == 422
    assert "may_fall" in answer.content.decode()
    assert desk.post(reverse("staff:enter-read"), typed | {"count": "29900"}).status_code == 302
    row = OfficeRead.objects.get()
    assert (row.raw_count, row.entered_by, row.read_at.isoformat()) == (29_900, staff, "2026-06-03T15:30:00+00:00")
    page = reverse("staff:entered-read", args=[row.public_id])
    assert desk.post(page, {"action": "revise", "count": "29800", "reason": "a 9 for an 8"}).status_code == 302
    assert desk.post(page, {"action": "withdraw", "reason": "of the neighbour"}).status_code == 302
    assert [version.raw_count for version in OfficeRead.objects.order_by("pk")] == [29_900, 29_800, 29_800]
    shown = desk.get(page).content.decode()
    assert "a 9 for an 8" in shown
    assert "of the neighbour" in shown
    assert "Take back" not in shown
    assert used(home) == 31 * 600


@pytest.mark.parametrize(
    "change",
    [
        {"meter": "EFE-99999999"},
        {"read_at": "soon"},
        {"read_at": "0001-01-01T00:00"},
        {"read_at": "9999-12-31T23:59"},
        {"count": "-1"},
        {"count": "1e9"},
        {"count": "٣"},
        {"source": "edit"},
        {"source": "<script>"},
        {"register": "high"},
    ],
)
def test_nonsense_is_refused(desk: Client, change: dict[str, str]) -> None:
    metered_home(user=person()).read_daily(31)
    typed = {"meter": "EFE-00000001", "read_at": "2026-06-03T10:30", "count": "29000", "source": "manual"}
    answer = desk.post(reverse("staff:enter-read"), typed | change)
    assert answer.status_code == 422
    assert "<script>" not in answer.content.decode().split("</nav>")[-1].replace("<script src", "")
    assert not OfficeRead.objects.exists()


def test_a_file_of_reads_is_looked_at_and_then_entered(desk: Client) -> None:
    metered_home(user=person()).read_daily(31)
    path = reverse("staff:import-reads")
    header = "meter,read_at,count\n"

    def look(text: str) -> Response:
        return desk.post(path, {"file": SimpleUploadedFile("june.csv", (header + text).encode())})

    bad = look("EFE-00000001,2026-06-02,28900\nEFE-00000001,2026-06-03,1\n<b>x</b>,2026-06-03,1\n").content.decode()
    assert "Line 3" in bad
    assert "Line 4" in bad
    assert "<b>x</b>" not in bad
    assert 'name="data"' not in bad
    good = look("EFE-00000001,2026-06-02,28900\n").content.decode()
    assert not OfficeRead.objects.exists()
    data = good.split('name="data" value="')[1].split('"')[0]
    assert desk.post(path, {"data": data, "name": "june.csv"}).status_code == 302
    assert OfficeRead.objects.get().raw_count == 28_900
    for nonsense in ({"data": "%%%"}, {"data": "AAAA"}, {}):
        assert desk.post(path, nonsense).status_code == 422, nonsense
    forged = base64.b64encode((header + "EFE-00000001,2026-06-03,1\n").encode()).decode()
    assert desk.post(path, {"data": forged}).status_code == 422
    assert OfficeRead.objects.count() == 1
