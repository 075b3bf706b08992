"""The residents' pages with a whole city in PostgreSQL: server time, sign-in to chart, live viewers.

`run` starts this module as a program of its own with 41,000 meters that were read every 15 minutes for two years. The
pages come from the product's own `portal serve`, one process, over loopback; sessions are made in the database, except
for the one sign-in that a browser does.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import http.client
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.bench.city import City
from tests.bench.measure import proc_bytes, rounded, say
from tests.bench.portals import new_portal, print_figures
from tests.postgres import PostgresMissing, throwaway_postgres

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

ACCOUNTS, DAYS, VIEWERS = 41_000, 730, 1_000
QUICK = (300, 40, 50)
NOW = datetime(2026, 6, 17, 20, 20, 5, tzinfo=UTC)
"""A Wednesday, 15:20 in Chicago."""
LIVE_S, QUICK_LIVE_S = 30, 5
ROUNDS = 120
"""Requests of each view, every one for another home."""
PASSWORD = "correct-horse-7"
KNOWN = 6
"""People, the last ones, whose passwords are known: they sign in by the form."""
VIEWS = {
    "day": "?by=hour",
    "week": "?by=week",
    "month": "?by=day",
    "year": "?by=month",
    "day a year ago": "?by=hour&date=2025-06-18",
    "month a year ago": "?by=day&date=2025-06-18",
    "year before": "?by=month&date=2025-06-18",
    "month beside last year": "?by=day&compare=year",
    "year beside last year": "?by=month&compare=year",
}


def run(folder: Path, *, quick: bool = False) -> dict[str, Any]:
    """Measure on a PostgreSQL of its own."""
    accounts, days, viewers = QUICK if quick else (ACCOUNTS, DAYS, VIEWERS)
    what = (
        f"{accounts} meters read every 15 minutes for {days} days, one serve process on loopback; usage pages: time "
        "from request to the last byte, each for another home, caches of the process warm; sign-in to chart: from the "
        "click on `sign in` to the drawn chart in headless Chromium; live: from the commit of a batch that touches "
        "every viewer's meter to the event at the viewer"
    )
    targets = {"usage_p95_ms": 50, "sign_in_to_chart_s": 1.0, "live_lag_p99_s": 1.0}
    found: dict[str, Any] = {"what": what, "targets": targets}
    home = folder / "portal"
    home.mkdir(parents=True)
    try:
        with throwaway_postgres() as url:
            sizes = (accounts, days, viewers, QUICK_LIVE_S if quick else LIVE_S)
            done = subprocess.run(
                [sys.executable, "-m", __name__, *map(str, sizes)],
                env=_environment(url, home), stdout=subprocess.PIPE, check=True, timeout=5400,
            )  # fmt: skip
    except PostgresMissing as missing:
        return {**found, "postgresql": str(missing)}
    return {**found, **json.loads(done.stdout)}


def _environment(url: str, home: Path) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("HEADWATER_", "DJANGO_"))}
    return kept | {
        "DJANGO_SETTINGS_MODULE": "portal.config.settings",
        "DATABASE_URL": url,
        "HEADWATER_PORTAL_DIR": str(home),
        "HEADWATER_DEMO": "True",  # pages in clear text on loopback
        "HEADWATER_BROKER_URL": "mqtts://127.0.0.1:8883",
    }


def measure(accounts: int, days: int, viewers: int, live_s: int) -> dict[str, Any]:
    """Return the figures of one city."""
    began = time.perf_counter()
    # Time stands still while the rows are made; the clock of the pages starts when they are served.
    os.environ["HEADWATER_CLOCK"] = f"scaled:1.0:{time.time()!r}:{NOW.timestamp()!r}"
    new_portal()
    City(accounts, NOW.date() - timedelta(days=days - 1), days, until=NOW, people=True, by_day=True).build()
    built_s = time.perf_counter() - began
    say(f"{accounts} meters, {accounts * days} days of reads in {built_s:.0f} s")
    os.environ["HEADWATER_CLOCK"] = f"scaled:1.0:{time.time()!r}:{NOW.timestamp()!r}"
    _worker_jobs()
    homes = _sessions(min(accounts - KNOWN, viewers))
    figures: dict[str, Any] = {"built_s": rounded(built_s), "database_bytes": _database_bytes()}
    with _served() as (port, process):
        figures["usage"] = _usage_pages(port, homes)
        say(f"usage pages: p95 {figures['usage']['all']['p95_ms']} ms")
        figures["sign_in_to_chart"] = _sign_in_to_chart(port)
        figures["live"] = _live(port, process.pid, homes, live_s)
    figures["load_average_1_min"] = os.getloadavg()[0]
    return figures


def _worker_jobs() -> None:
    """Run what the worker runs, so that the pages have all that they show: sums of similar homes among it."""
    from portal.core.clock import now
    from portal.worker import JOBS, sweep

    for job in JOBS:
        if "similar" in job.name:
            began = time.perf_counter()
            sweep(now(), (job,))
            say(f"{job.name}: {time.perf_counter() - began:.1f} s")


def _database_bytes() -> int:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_database_size(current_database())")
        return int(cursor.fetchone()[0])


def _sessions(count: int) -> list[tuple[str, str, str]]:
    """Return (cookie, public id of the home, meter) of so many people who are signed in."""
    from django.conf import settings
    from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
    from django.contrib.sessions.backends.db import SessionStore

    from portal.core.models import User
    from portal.customers.models import ServicePoint

    found = []
    people = list(User.objects.filter(is_staff=False).order_by("pk"))[:-KNOWN]
    for user in random.Random(7).sample(people, count):
        session = SessionStore()
        session[SESSION_KEY] = str(user.pk)
        session[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
        session[HASH_SESSION_KEY] = user.get_session_auth_hash()
        session.create()
        point = ServicePoint.objects.get(occupancies__account__access__user=user)
        meter = point.installations.get().meter.meter_id
        found.append((f"{settings.SESSION_COOKIE_NAME}={session.session_key}", point.public_id, meter))
    return found


@contextlib.contextmanager
def _served() -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    with socket.create_server(("127.0.0.1", 0), backlog=2048) as listener:
        port = int(listener.getsockname()[1])
        process = subprocess.Popen(
            [sys.executable, "-m", "headwater", "portal", "serve", "--fd", str(listener.fileno())],
            pass_fds=[listener.fileno()], stdout=subprocess.DEVNULL,
        )  # fmt: skip
    try:
        for _ in range(600):
            with contextlib.suppress(OSError):
                _get(port, "/accounts/login/", "")
                break
            time.sleep(0.1)
        yield port, process
    finally:
        process.terminate()
        process.wait(timeout=60)


def _get(port: int, path: str, cookie: str, client: http.client.HTTPConnection | None = None) -> tuple[int, float, int]:
    """Return (status, seconds to the last byte, bytes) of one page."""
    client = client or http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    began = time.perf_counter()
    client.request("GET", path, headers={"Cookie": cookie} if cookie else {})
    answer = client.getresponse()
    size = len(answer.read())
    return answer.status, time.perf_counter() - began, size


def _usage_pages(port: int, homes: Sequence[tuple[str, str, str]]) -> dict[str, Any]:
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    rng, taken, sizes = random.Random(3), dict[str, list[float]](), list[int]()
    for warm in (True, False):
        for _ in range(3 if warm else min(ROUNDS, 1 + len(homes) // 8)):
            for name, query in VIEWS.items():
                cookie, public_id, _meter = rng.choice(homes)
                status, took_s, size = _get(port, f"/usage/{public_id}/{query}", cookie, client)
                if status != 200:
                    raise RuntimeError(f"{name}: status {status}")
                if not warm:
                    taken.setdefault(name, []).append(took_s)
                    sizes.append(size)
    every = [took_s for values in taken.values() for took_s in values]
    figures: dict[str, Any] = {name: _spread(values) for name, values in taken.items()}
    return {"all": _spread(every), **figures, "page_bytes_median": round(statistics.median(sizes))}


def _spread(values: Sequence[float]) -> dict[str, float]:
    ordered = sorted(values)
    at = {name: ordered[min(len(ordered) - 1, int(len(ordered) * part))] for name, part in _PARTS.items()}
    return {f"{name}_ms": rounded(value * 1000) for name, value in at.items()}


_PARTS = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


def _sign_in_to_chart(port: int) -> dict[str, Any]:
    """Return how long a person waits from the click on `sign in` until the chart is drawn, five people."""
    from playwright.sync_api import sync_playwright

    from tests.browser import pages

    say("signing in")

    people = _who_know_their_password()
    taken = []
    with sync_playwright() as playwright:
        browser = pages.launch(playwright)
        for email in people:
            context = browser.new_context(viewport={"width": 390, "height": 844})
            page = context.new_page()
            page.goto(f"http://127.0.0.1:{port}/accounts/login/")
            page.fill("#id_login", email)
            page.fill("#id_password", PASSWORD)
            began = time.perf_counter()
            page.click("#sign-in")
            page.wait_for_function("() => window.headwaterChart && window.headwaterChart.data[0].length > 0")
            taken.append(time.perf_counter() - began)
            context.close()
        browser.close()
    return {
        "people": len(taken) - 1,
        "median_s": rounded(statistics.median(taken[1:])),
        "worst_s": rounded(max(taken[1:])),
    }


def _who_know_their_password() -> list[str]:
    from django.contrib.auth.hashers import make_password

    from portal.core.models import User

    people = list(User.objects.filter(is_staff=False).order_by("-pk")[:KNOWN])
    for user in people:
        user.password = make_password(PASSWORD, hasher="argon2")
        user.save(update_fields=["password"])
    return [user.email for user in people]


def _live(port: int, pid: int, homes: Sequence[tuple[str, str, str]], live_s: int) -> dict[str, Any]:
    """Open a stream for every home, then commit a batch that touches all their meters every second."""
    say("opening streams")
    before = proc_bytes(pid, "VmRSS")
    lags, opened, ending = list[float](), threading.Event(), threading.Event()
    commits: dict[int, float] = {}
    watching = _watch(port, homes, commits, lags, opened, ending)
    viewers = threading.Thread(target=asyncio.run, args=(watching,), daemon=True)
    viewers.start()
    if not opened.wait(300):
        raise RuntimeError("the streams did not open")
    say(f"{len(homes)} streams are open")
    pages = list[float]()
    publish = _publisher([meter for _, _, meter in homes])
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    for number in range(live_s):
        began = time.perf_counter()
        change = publish(number)
        commits[change] = time.perf_counter()
        cookie, public_id, _ = homes[number % len(homes)]
        pages.append(_get(port, f"/usage/{public_id}/", cookie, client)[1])
        time.sleep(max(0.0, 1.0 - (time.perf_counter() - began)))
    time.sleep(3)
    rss = proc_bytes(pid, "VmRSS")
    ending.set()
    viewers.join(60)
    return {
        "viewers": len(homes),
        "updates": live_s,
        "events_expected": live_s * len(homes),
        "events": len(lags),
        "lag_p50_s": rounded(statistics.median(lags)),
        "lag_p99_s": rounded(sorted(lags)[int(len(lags) * 0.99)]),
        "lag_worst_s": rounded(max(lags)),
        "page_meanwhile": _spread(pages),
        "serve_rss_mib": round(rss / 2**20),
        "serve_rss_mib_before": round(before / 2**20),
    }


async def _watch(
    port: int,
    homes: Sequence[tuple[str, str, str]],
    commits: dict[int, float],
    lags: list[float],
    opened: threading.Event,
    ending: threading.Event,
) -> None:
    """Read every stream; note how long after its commit each event came. An event may stand for several commits."""
    ready = 0

    async def view(cookie: str, public_id: str) -> None:
        nonlocal ready
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            f"GET /usage/{public_id}/stream/ HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: {cookie}\r\n\r\n".encode("ascii")
        )
        first = True
        while not ending.is_set():
            try:
                line = await asyncio.wait_for(reader.readline(), 1)
            except TimeoutError:
                continue
            if not line:
                raise ConnectionError(f"the stream of {public_id} was closed")
            if first and line.startswith(b"retry:"):
                first, ready = False, ready + 1
                if ready == len(homes):
                    opened.set()
            if line.startswith(b"id: "):
                arrived, change = time.perf_counter(), int(line[4:])
                while change not in commits and time.perf_counter() < arrived + 2:
                    await asyncio.sleep(0.005)  # the commit is noted a moment after it was made
                if change in commits:
                    lags.append(max(0.0, arrived - commits[change]))
        writer.close()

    async with asyncio.TaskGroup() as group:
        for cookie, public_id, _ in homes:
            group.create_task(view(cookie, public_id))


def _publisher(meters: Sequence[str]) -> Callable[[int], int]:
    """Return what commits a read of every meter and tells the number of the change."""
    from domain.ids import CollectorId
    from portal.core.clock import now
    from portal.core.services import current_change
    from portal.fleet.models import Collector
    from portal.metering import services as metering
    from portal.metering.models import RegisterState
    from sync.signing import SigningKey
    from tests.portal.building import Box, read, total

    box = Box(CollectorId("hw-city-1"), SigningKey.generate())
    collector, _ = Collector.objects.get_or_create(collector_id=box.name)
    rows = RegisterState.objects.filter(register__meter__meter_id__in=meters)
    counts = dict(rows.values_list("register__meter__meter_id", "last_count"))

    def publish(number: int) -> int:
        moment = now().replace(microsecond=0)
        reads = [read(total(meter), counts[meter] + number + 1, moment) for meter in meters]
        batch = box.batch(reads)
        epoch = metering.epoch_row(collector, batch, received_at=moment)
        assert epoch is not None
        metering.apply_contents(batch, epoch=epoch, received_at=moment)
        return current_change()

    return publish


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("accounts", "days", "viewers", "live_s"):
        parser.add_argument(name, type=int)
    print_figures(measure(**vars(parser.parse_args())))
