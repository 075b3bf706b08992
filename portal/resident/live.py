"""Who is told of a change, at once: one watcher per serve process, fanning out in memory.

The watcher runs only while somebody watches. It waits for a notification (PostgreSQL) or looks at the change counter
every quarter of a second (SQLite), asks once which of the watched service points changed and who lives there at that
moment, and puts the change number into the queues of just those people. A stream holds no database connection.
"""

from __future__ import annotations

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from django.db import Error as DatabaseError
from django.db import connection
from django.db.models import Q

from domain.reading import EventKind
from portal.core.clock import now
from portal.core.services import CHANGES_CHANNEL, current_change
from portal.customers.models import Occupancy
from portal.customers.permissions import Permission, levels_with
from portal.metering.models import Installation, MeterEvent

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

POLL_S = 0.25
LISTEN_S = 2.0
RETRY_S = 2.0
QUEUE_EVENTS_MAX = 4
"""An event only says `fetch again`, so a slow reader needs the newest ones alone."""
_LEAK_KINDS = (EventKind.LEAK_OPENED.value, EventKind.LEAK_CLEARED.value)
_EVENTS_BACK = 500
"""Row ids may be committed out of order: so many are looked at again."""

log = logging.getLogger(__name__)


@dataclass(eq=False, slots=True)
class Subscription:
    """One open page: who looks at which service point."""

    user: int
    service_point: int
    queue: asyncio.Queue[int] = field(default_factory=lambda: asyncio.Queue(QUEUE_EVENTS_MAX))

    def put(self, change: int) -> None:
        """Queue a change; when the reader is slow the oldest one goes."""
        if self.queue.full():
            self.queue.get_nowait()
        self.queue.put_nowait(change)


class Hub:
    """The subscriptions of one process, and the watcher that serves them."""

    def __init__(self) -> None:
        self.subscriptions: set[Subscription] = set()
        self._task: asyncio.Task[None] | None = None

    @contextmanager
    def subscribe(self, *, user: int, service_point: int) -> Iterator[asyncio.Queue[int]]:
        """Give a queue that receives change numbers until the block is left. Call it inside the event loop."""
        subscription = Subscription(user, service_point)
        self.subscriptions.add(subscription)
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._watch())
        try:
            yield subscription.queue
        finally:
            self.subscriptions.discard(subscription)

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        watcher = _Watcher()
        # One thread of its own: the connection that it opens there stays with it, and no request waits for it.
        executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="headwater-live")
        try:
            await loop.run_in_executor(executor, watcher.start)
            while self.subscriptions:
                await loop.run_in_executor(executor, watcher.pause)
                news = await loop.run_in_executor(executor, watcher.look)
                if news is not None:
                    await self._tell(news, watcher, executor)
        finally:
            await loop.run_in_executor(executor, watcher.stop)
            executor.shutdown(wait=False)

    async def _tell(self, news: _News, watcher: _Watcher, executor: ThreadPoolExecutor) -> None:
        """Queue a change for everybody whom it concerns.

        Pages may open while the database is asked. They are asked for too, so that whoever is subscribed when the
        numbers are queued was looked up after the change was committed, and nobody falls between two looks.
        """
        loop = asyncio.get_running_loop()
        told: set[tuple[int, int]] = set()
        asked: set[int] = set()
        while wanted := {subscription.service_point for subscription in self.subscriptions} - asked:
            answer = await loop.run_in_executor(executor, watcher.concerned, news, wanted)
            if answer is None:
                return  # the database went away: the same change is looked at again
            told |= answer
            asked |= wanted
        watcher.done(news)
        for subscription in self.subscriptions:
            if (subscription.service_point, subscription.user) in told:
                subscription.put(news.change)


hub = Hub()


def audience(service_points: Collection[int], *, since: int) -> set[tuple[int, int]]:
    """Return (service point, user) of everybody who lives, now, where a register changed after change `since`."""
    changed = Installation.objects.filter(
        service_point__in=service_points,
        end__isnull=True,
        meter__registers__claimed=True,
        meter__registers__state__change_number__gt=since,
    )
    return _living_at(set(changed.values_list("service_point", flat=True)))


def _living_at(service_points: set[int]) -> set[tuple[int, int]]:
    if not service_points:
        return set()
    moment = now()
    rows = Occupancy.objects.filter(
        Q(end__isnull=True) | Q(end__gt=moment),
        service_point__in=service_points,
        start__lte=moment,
        account__access__level__in=levels_with(Permission.USAGE),
        account__access__ended_at__isnull=True,
        account__access__user__is_active=True,
    )
    return set(rows.values_list("service_point", "account__access__user").distinct())


@dataclass(frozen=True, slots=True)
class _News:
    """What one look found: changes after `since` up to `change`, and all recent leak events with their meters."""

    since: int
    change: int
    leak_events: dict[int, int]


class _Watcher:
    """Looks at the database in its own thread, with its own connection."""

    def __init__(self) -> None:
        self.change = 0
        self._events: dict[int, int] = {}
        self._listening = False

    def start(self) -> None:
        """Take note of where things stand."""
        if (news := self.look()) is not None:
            self.done(news)

    def stop(self) -> None:
        """Give the connection back."""
        connection.close()

    def pause(self) -> None:
        """Wait for a notification, or for a quarter of a second."""
        if connection.vendor != "postgresql":
            time.sleep(POLL_S)
            return
        try:
            connection.ensure_connection()
            if self._listening:
                with connection.wrap_database_errors:
                    for _ in connection.connection.notifies(timeout=LISTEN_S, stop_after=1):
                        pass
            else:  # what was committed before the LISTEN is found by the look that follows
                with connection.cursor() as cursor:
                    cursor.execute(f"LISTEN {CHANGES_CHANNEL}")
                self._listening = True
        except DatabaseError:
            self._failed()

    def look(self) -> _News | None:
        """Return what is new, None when nothing is."""
        try:
            change = current_change()
            return None if change == self.change else _News(self.change, change, self._leak_events())
        except DatabaseError:
            self._failed()
            return None

    def concerned(self, news: _News, service_points: set[int]) -> set[tuple[int, int]] | None:
        """Return which (service point, user) of these service points the news concern; None when it failed."""
        try:
            told = audience(service_points, since=news.since)
            if new := {meter for pk, meter in news.leak_events.items() if pk not in self._events}:
                leaking = Installation.objects.filter(
                    meter_id__in=new, end__isnull=True, service_point__in=service_points
                )
                told |= _living_at(set(leaking.values_list("service_point", flat=True)))
        except DatabaseError:
            self._failed()
            return None
        else:
            return told

    def done(self, news: _News) -> None:
        """Remember what was told."""
        self.change, self._events = news.change, news.leak_events

    def _leak_events(self) -> dict[int, int]:
        """Return the newest leak events and their meters: a batch of events alone touches no register."""
        newest = max(self._events, default=0)
        rows = MeterEvent.objects.filter(pk__gt=newest - _EVENTS_BACK, kind__in=_LEAK_KINDS, meter__isnull=False)
        return {pk: meter for pk, meter in rows.values_list("pk", "meter_id") if meter is not None}

    def _failed(self) -> None:
        log.exception("live updates: the database does not answer; trying again in %s s", RETRY_S)
        self._listening = False
        connection.close()
        time.sleep(RETRY_S)
