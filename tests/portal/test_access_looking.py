"""Looks by staff: a reason first, every page written down, nothing of the person's own, nothing changed."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.test import Client
from django.urls import URLPattern, reverse

from portal.access.looking import SHOWN, looks_at
from portal.access.viewing import LOOK
from portal.core.clock import now
from portal.core.models import AuditEntry, User
from portal.customers.models import Account, AccountAccess
from portal.customers.services import grant_access
from portal.resident.models import Preference
from portal.resident.urls import urlpatterns
from tests.portal.building import home, total

if TYPE_CHECKING:
    from django.http import HttpResponse

    from portal.customers.models import ServicePoint

pytestmark = pytest.mark.django_db
REASON = "caller cannot find the June bill"
ANY_ID = "bcdfghjkmnpqr"


def person(email: str = "ana@example.org", **fields: Any) -> User:
    """A person without a password: nothing here signs in by one, and hashing is slow."""
    return User.objects.create_user(email, **fields)


@pytest.fixture
def place() -> ServicePoint:
    point, _ = home(total(), now() - timedelta(days=3), user=person())
    home(total("EFE-2"), now() - timedelta(days=3), user=person("ben@example.org"), address="9 Oak", account="1000002")
    return point


@pytest.fixture
def staff() -> Client:
    client = Client()
    client.force_login(person("sam@example.org", is_staff=True, name="Sam Staff"))
    return client


def look(client: Client, number: str = "1000001", reason: str = REASON) -> HttpResponse:
    account = Account.objects.get(number=number)
    return client.post(f"/staff/accounts/{account.public_id}/look/", {"reason": reason})  # type: ignore[return-value]


def written(action: str) -> list[AuditEntry]:
    return list(AuditEntry.objects.filter(action=action).order_by("pk"))


def over(client: Client) -> None:
    """Let the look's time pass."""
    session = client.session
    session[LOOK] = {**session[LOOK], "until": 1.0}
    session.save()


@pytest.mark.parametrize("reason", ["", "why", "          ", "........ ....", "xxxxxxxxxxx", "r" * 100 + "eason " * 20])
def test_without_a_reason_that_can_be_checked_nothing_is_shown(staff: Client, place: ServicePoint, reason: str) -> None:
    refused = look(staff, reason=reason)
    assert refused.status_code == 422
    assert 'aria-invalid="true"' in refused.content.decode()
    assert staff.get(f"/usage/{place.public_id}/").status_code == 404
    assert not AuditEntry.objects.filter(action__startswith="look.").exists()


def test_the_reason_is_written_down_and_the_holders_pages_are_shown(staff: Client, place: ServicePoint) -> None:
    assert staff.get(f"/usage/{place.public_id}/").status_code == 404
    started = look(staff, reason=f"  {REASON} ")
    assert started.status_code == 302
    (entry,) = written("look.start")
    assert entry.actor is not None
    assert (entry.actor.email, entry.reason, entry.target_type) == ("sam@example.org", REASON, "customers.account")
    assert written("look.page") == []
    shown = staff.get(started.headers["Location"], follow=True)
    assert shown.redirect_chain[-1][0] == f"/usage/{place.public_id}/"
    text = shown.content.decode()
    assert "12 Elm Street" in text
    assert 'id="look-bar"' in text
    assert "1000001" in text
    assert staff.get("/bills/").status_code == 200


def test_pages_are_written_down_once_a_minute_without_what_was_asked(staff: Client, place: ServicePoint) -> None:
    look(staff)
    path = f"/usage/{place.public_id}/"
    for query in ("", "?by=day", "?by=month&date=2026-01-01"):
        staff.get(path + query)
    assert [entry.detail["path"] for entry in written("look.page")] == [path]
    AuditEntry.objects.filter(action="look.page").update(at=now() - timedelta(minutes=2))
    staff.get(path)
    assert [entry.detail["path"] for entry in written("look.page")] == [path, path]


def test_one_account_at_a_time_and_no_other(staff: Client, place: ServicePoint) -> None:
    look(staff)
    look(staff, "1000002")
    assert staff.get(f"/usage/{place.public_id}/").status_code == 404
    assert "9 Oak" in staff.get("/", follow=True).content.decode()
    assert [entry.action for entry in AuditEntry.objects.filter(action__startswith="look.").order_by("pk")] == [
        "look.start",
        "look.end",
        "look.start",
        "look.page",  # the other account's page, which was refused
        "look.page",
        "look.page",
    ]


def test_a_look_is_over_after_its_time_and_when_it_is_ended(staff: Client, place: ServicePoint) -> None:
    look(staff)
    over(staff)
    late = staff.get(f"/usage/{place.public_id}/")
    assert late.status_code == 302
    assert late.headers["Location"] == f"/staff/accounts/{Account.objects.get(number='1000001').public_id}/"
    assert "look-bar" not in staff.get(late.headers["Location"]).content.decode()
    look(staff)
    assert staff.post("/staff/look/end/").status_code == 302
    assert staff.get(f"/usage/{place.public_id}/").status_code == 404
    assert staff.post("/staff/look/end/").status_code == 302
    assert len(written("look.end")) == 1


def test_who_is_no_longer_staff_sees_nothing(staff: Client, place: ServicePoint) -> None:
    look(staff)
    User.objects.filter(email="sam@example.org").update(is_staff=False)
    assert staff.get(f"/usage/{place.public_id}/").status_code == 404
    assert look(staff).status_code == 403


def test_residents_cannot_look(place: ServicePoint) -> None:
    client = Client()
    client.force_login(person("eve@example.org"))
    assert look(client).status_code == 403
    session = client.session
    session[LOOK] = {"account": Account.objects.get(number="1000001").public_id, "until": 9e9}
    session.save()
    assert client.get(f"/usage/{place.public_id}/").status_code == 404


def addresses() -> list[tuple[str, str]]:
    """Return the name and an address of every resident page."""
    found = []
    for pattern in urlpatterns:
        assert isinstance(pattern, URLPattern)
        names = pattern.pattern.regex.groupindex
        found.append((str(pattern.name), reverse(f"resident:{pattern.name}", kwargs=dict.fromkeys(names, ANY_ID))))
    return found


def test_nothing_that_is_sent_to_a_resident_page_changes_anything(staff: Client, place: ServicePoint) -> None:
    look(staff)
    entries = AuditEntry.objects.count()
    for method in ("post", "put", "patch", "delete"):
        for name, path in addresses():
            answer = getattr(staff, method)(path, {"unit": "l", "next": "/"})
            assert (name, answer.status_code) == (name, 403)
            assert "nothing was changed" in answer.content.decode()
    assert not Preference.objects.exists()
    assert AuditEntry.objects.count() == entries


def test_what_is_the_persons_own_is_not_shown(staff: Client, place: ServicePoint) -> None:
    look(staff)
    names = {name for name, _ in addresses()}
    assert names >= SHOWN
    hidden = [(name, path) for name, path in addresses() if name not in SHOWN | {"stream"}]
    for name, path in hidden:
        answer = staff.get(path)
        assert (name, answer.status_code) == (name, 404)
        assert "Not shown in a look" in answer.content.decode()
    assert staff.get(f"/usage/{place.public_id}/stream/").status_code == 204


def test_the_customer_is_told(staff: Client, place: ServicePoint) -> None:
    holder, guest = (AccountAccess.objects.get(account__number="1000001").user, person("guest@example.org"))
    account = Account.objects.get(number="1000001")
    grant_access(account, guest, at=now() - timedelta(days=1), level=AccountAccess.Level.VIEW_USAGE)
    look(staff)
    staff.post(f"/staff/places/{place.public_id}/usage/", {"reason": REASON})
    look(staff, "1000002")
    assert [seen.account for seen in looks_at(holder)] == ["1000001", "1000001"]
    theirs = Client()
    theirs.force_login(holder)
    assert theirs.get("/profile/sign-ins/").content.decode().count('<span class="code">1000001</span>') == 2
    assert looks_at(guest) == []
    later = person("later@example.org")
    grant_access(account, later, at=now() + timedelta(minutes=1))
    assert looks_at(later) == []
