"""Whether messages leave: how long the oldest has been due, and when the worker that sends them last did anything."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Max, Q

from portal.core.clock import clock, now
from portal.core.models import DueJob
from portal.core.services import utility_zone
from portal.notifications.hours import text_time
from portal.notifications.models import Channel, Message
from portal.notifications.sending import LEASE, to_send

PATIENCE = timedelta(minutes=5)
"""By the machine's own clock. A worker looks every half minute, and finishes a job every minute."""


@dataclass(frozen=True, slots=True)
class Standstill:
    """Messages that should have left and did not.

    waiting      how many of them there are; since: when the first of them should have left, or was written.
    worker_at    when a worker last finished a job, None: never has one.
    server_said  why the server took none, where the worker runs; empty: no worker is at it.
    """

    waiting: int
    since: datetime
    worker_at: datetime | None
    server_said: str = ""


def standstill() -> Standstill | None:
    """Return what holds messages up, None while they leave. Many that are under way are no standstill."""
    moment = now()
    worker_at = DueJob.objects.aggregate(at=Max("last_finished_at"))["at"]
    due = to_send(moment)
    if text_time(moment - PATIENCE, utility_zone()) > moment - PATIENCE:  # texts wait for the morning, or did just now
        due &= ~Q(channel=Channel.SMS, at_any_hour=False)
    oldest = Message.objects.filter(due).order_by("next_try_at").values_list("next_try_at", flat=True).first()
    if oldest is not None and _long_ago(oldest, moment) and not _worker_is_at_it(worker_at, moment):
        return Standstill(Message.objects.filter(due).count(), oldest, worker_at)
    return _held_by_server(moment, worker_at)


def _held_by_server(moment: datetime, worker_at: datetime | None) -> Standstill | None:
    """Return the messages that were given back untried, because their server was away."""
    held = Message.objects.filter(sent_at__isnull=True, failed_at__isnull=True, tries=0).exclude(last_error="")
    first = held.order_by("queued_at").values_list("queued_at", "last_error").first()
    if first is None or not _long_ago(first[0], moment):
        return None
    return Standstill(held.count(), first[0], worker_at, first[1])


def _worker_is_at_it(worker_at: datetime | None, moment: datetime) -> bool:
    """Tell whether a worker has finished a job, or claimed messages, a short while ago."""
    if worker_at is not None and not _long_ago(worker_at, moment):
        return True
    claimed = Message.objects.filter(sent_at__isnull=True, failed_at__isnull=True, tries=1)
    return claimed.filter(next_try_at__gt=moment + LEASE - PATIENCE).exists()


def _long_ago(at: datetime, moment: datetime) -> bool:
    return clock().real_seconds((moment - at).total_seconds()) > PATIENCE.total_seconds()
