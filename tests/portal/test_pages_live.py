"""Live updates: who is told of which change, and what the stream sends (a browser sees them in tests/browser)."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth.models import AnonymousUser
from django.http import Http404
from django.test import Client, RequestFactory

from portal.core.services import current_change
from portal.customers import services as customers
from portal.customers.models import AccountAccess, Occupancy
from portal.resident import live, stream
from tests.portal.building import NOON, home, person, read, total
from tests.portal.test_pages_usage import apply, box

if TYPE_CHECKING:
    from django.http.response import HttpResponseBase
    from pytest_django.fixtures import SettingsWrapper

    from portal.core.models import User
    from tests.portal.building import Box

pytestmark = pytest.mark.django_db
__all__ = ["box"]


@pytest.fixture(autouse=True)
def at_noon(settings: SettingsWrapper) -> None:
    settings.HEADWATER_CLOCK = f"scaled:1.0:{time.time()!r}:{NOON.timestamp()!r}"


def ask(user: User | None, public_id: str) -> HttpResponseBase:
    request = RequestFactory().get("/")
    request.user = user or AnonymousUser()
    return stream.changes(request, public_id)


def test_only_those_who_live_there_are_told(box: Box) -> None:
    ana, ben = person("ana@example.org"), person("ben@example.org")
    start = NOON - timedelta(days=1)
    elm, _ = home(total("EFE-00000001"), start, user=ana)
    oak, _ = home(total("EFE-00000002"), start, user=ben, address="3 Oak Lane", account="1000002")
    before = current_change()
    apply(box, [read(total("EFE-00000001"), 5, NOON)])
    everywhere = [elm.pk, oak.pk]
    assert live.audience(everywhere, since=before) == {(elm.pk, ana.pk)}
    assert live.audience([oak.pk], since=before) == set()
    assert live.audience(everywhere, since=current_change()) == set()
    customers.end_access(AccountAccess.objects.get(user=ana), at=NOON)
    assert live.audience(everywhere, since=before) == set()


def test_nobody_is_told_after_a_move_out_or_when_locked_out(box: Box) -> None:
    ana = person()
    elm, _ = home(total(), NOON - timedelta(days=1), user=ana)
    apply(box, [read(total(), 5, NOON)])
    assert live.audience([elm.pk], since=0) == {(elm.pk, ana.pk)}
    ana.is_active = False
    ana.save()
    assert live.audience([elm.pk], since=0) == set()
    ana.is_active = True
    ana.save()
    customers.move_out(Occupancy.objects.get(), NOON)
    assert live.audience([elm.pk], since=0) == set()


def test_the_stream_asks_who_it_is(box: Box) -> None:
    ana, stranger = person(), person("stranger@example.org")
    elm, _ = home(total(), NOON - timedelta(days=1), user=ana)
    assert ask(None, elm.public_id).status_code == 401
    with pytest.raises(Http404):
        ask(stranger, elm.public_id)
    assert ask(ana, elm.public_id)["Content-Type"] == "text/event-stream"
    customers.move_out(Occupancy.objects.get(), NOON)
    assert ask(ana, elm.public_id).status_code == 204


class QuietHub(live.Hub):
    """A hub without its watcher: what is put into the queues is the test's affair."""

    async def _watch(self) -> None:
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("since", "expected"),
    [(None, b": still here"), ("now", b": still here"), ("before", b"event: usage"), ("ahead", b"event: usage")],
)
def test_a_stream_resumes_where_the_page_stood(
    box: Box, monkeypatch: pytest.MonkeyPatch, since: str | None, expected: bytes
) -> None:
    """`ahead` is a change number of a database that was restored since: the page must fetch anew."""
    ana = person()
    elm, _ = home(total(), NOON - timedelta(days=1), user=ana)
    before = current_change()
    apply(box, [read(total(), 5, NOON)])
    now = current_change()
    number = {None: None, "now": now, "before": before, "ahead": now + 1000}[since]
    hub = QuietHub()
    monkeypatch.setattr(stream, "hub", hub)
    monkeypatch.setattr(stream, "HEARTBEAT_S", 0.01)
    # The test's rows are in a transaction that only this thread's connection sees.
    monkeypatch.setattr(stream, "_looked_up", sync_to_async(stream._missed))
    monkeypatch.setattr(stream, "look_after_connections", lambda: None)

    async def first_two() -> list[bytes]:
        events: Any = stream._events(ana.pk, elm.pk, number)
        found = [await anext(events), await anext(events)]
        assert len(hub.subscriptions) == 1
        await events.aclose()
        assert len(hub.subscriptions) == 0
        return found

    retry, second = async_to_sync(first_two)()
    assert retry == b"retry: 2000\n\n"
    assert expected in second
    if expected == b"event: usage":
        assert second.startswith(b"id: %d\n" % now)


def test_a_stream_is_opened_as_any_page_is(box: Box) -> None:
    """In a thread that keeps its connection: a thousand pages that come back at once are opened sixteen at a time."""
    from portal.config import asgi

    ana = person()
    elm, _ = home(total(), NOON - timedelta(days=1), user=ana)
    assert not asgi._is_coroutine(f"/usage/{elm.public_id}/stream/")
    client = Client()
    client.force_login(ana)
    answer = client.get(f"/usage/{elm.public_id}/stream/")
    assert (answer.status_code, answer["Content-Type"]) == (200, "text/event-stream")


@pytest.mark.parametrize(
    ("limits", "expected"),
    [((1024, 524_288), [(16_384, 524_288)]), ((1024, 4096), [(4096, 4096)]), ((-1, -1), []), ((65_536, 65_536), [])],
)
def test_a_process_may_hold_a_thousand_pages_open(
    limits: tuple[int, int], expected: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from portal.config import asgi

    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(asgi.resource, "getrlimit", lambda _what: limits)
    monkeypatch.setattr(asgi.resource, "setrlimit", lambda _what, wanted: asked.append(wanted))
    asgi._allow_open_files()
    assert asked == expected


def test_a_slow_reader_gets_the_newest_changes_and_memory_stays_bounded() -> None:
    async def flood() -> list[int]:
        hub = QuietHub()
        with hub.subscribe(user=1, service_point=2) as queue:
            (subscription,) = hub.subscriptions
            for change in range(1000):
                subscription.put(change)
            return [queue.get_nowait() for _ in range(queue.qsize())]

    assert asyncio.run(flood()) == [996, 997, 998, 999]
