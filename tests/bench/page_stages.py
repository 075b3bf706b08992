"""The programs of the pages bench: `build` fills the database, `measure` serves the pages from it and asks for them.

Each prints one line of JSON for every stage that has ended; a stage that takes too long, or fails, says so in its own
line, and the next one begins.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.bench.city import City
from tests.bench.measure import cpu_s, proc_bytes, rounded, say
from tests.bench.portals import new_portal
from tests.bench.viewers import Seen, Viewer, audience

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

NOW = datetime(2026, 6, 17, 20, 20, 5, tzinfo=UTC)
"""A Wednesday, 15:20 in Chicago."""
PROFILES, HOURLY = 48, 42
GARDENS = 11
"""One meter of so many is a home's second one."""
PASSWORD = "correct-horse-7"
KNOWN = 6
"""People, the last ones, whose passwords are known: they sign in by the form. Nobody has a session of theirs."""
LIVE_S = 30
OPEN_S_MAX, ARRIVE_S_MAX = 180.0, 30.0
ALL_METERS = "meters=all"
VIEWS = {
    "hour": "?by=minute",
    "day": "?by=hour",
    "week": "?by=week",
    "month": "?by=day",
    "year": "?by=month",
    "hour a year ago": "?by=minute&at=2025-06-18T15:00:00",
    "day a year ago": "?by=hour&date=2025-06-18",
    "month a year ago": "?by=day&date=2025-06-18",
    "year before": "?by=month&date=2025-06-18",
    "hour beside the hour before": "?by=minute&compare=previous",
    "day beside the day before": "?by=hour&compare=previous",
    "week beside last year": "?by=week&compare=year",
    "month beside last year": "?by=day&compare=year",
    "year beside the year before": "?by=month&compare=previous",
    "month beside similar homes": "?by=day&compare=similar",
    "year beside similar homes": "?by=month&compare=similar",
    "day of both meters": f"?by=hour&{ALL_METERS}",
    "month of both meters beside last year": f"?by=day&{ALL_METERS}&compare=year",
    "year of both meters": f"?by=month&{ALL_METERS}",
}
STAGE_S_MAX = {"city": 1500, "jobs": 600, "checked": 300, "usage": 600, "sign_in_to_chart": 180, "live": 420}

Figures = dict[str, Any]


class StageTooLong(Exception):
    """A stage took longer than it may."""


def _stage(name: str, work: Callable[[], Figures]) -> None:
    """Run one stage within its time and print its figures."""

    def too_long(*_: object) -> None:
        raise StageTooLong(f"more than {STAGE_S_MAX[name]} s")

    began = time.perf_counter()
    signal.signal(signal.SIGALRM, too_long)
    signal.alarm(STAGE_S_MAX[name])
    try:
        found = work()
    except Exception as error:
        found = {"error": f"{type(error).__name__}: {error}"}
    finally:
        signal.alarm(0)
    sys.stdout.write(json.dumps({name: {"took_s": rounded(time.perf_counter() - began), **found}}) + "\n")
    sys.stdout.flush()


def build(meters: int, days: int, viewers: int, rounds: int, sessions: Path) -> None:
    """Fill the database, run what the worker would have run, and leave the sessions in a file."""
    os.environ["HEADWATER_CLOCK"] = f"scaled:1.0:{time.time()!r}:{NOW.timestamp()!r}"
    new_portal()
    gardens = meters // GARDENS
    city = City(
        meters - gardens, NOW.date() - timedelta(days=days - 1), days, until=NOW,
        people=True, by_day=True, gardens=gardens, profiles=PROFILES, hourly=HOURLY,
    )  # fmt: skip

    def made() -> Figures:
        city.build()
        return {"meters": city.meters, "days": days, "database_mib": _database_mib()}

    _stage("city", made)
    _stage("jobs", _worker_jobs)
    _stage("checked", _checked)
    homes = _sessions(min(city.accounts - KNOWN, max(viewers, rounds * len(VIEWS))))
    sessions.write_text(json.dumps(homes), encoding="utf-8")


def measure(viewers: int, rounds: int, sessions: Path) -> None:
    """Serve the pages and measure them."""
    os.environ["HEADWATER_CLOCK"] = f"scaled:1.0:{time.time()!r}:{NOW.timestamp()!r}"
    import django

    django.setup()
    homes = [(Viewer(*viewer), several) for viewer, several in json.loads(sessions.read_text(encoding="utf-8"))]
    with _served() as (port, process):
        _stage("usage", lambda: _usage_pages(port, process.pid, homes, rounds))
        _stage("sign_in_to_chart", lambda: _sign_in_to_chart(port))
        _stage("live", lambda: _live(port, process.pid, [viewer for viewer, _ in homes[:viewers]]))


def _worker_jobs() -> Figures:
    """Run what the worker runs, so that the pages have all that they show: sums of similar homes."""
    from portal.core.clock import now
    from portal.worker import JOBS, sweep

    taken = {}
    for job in JOBS:
        if "similar" in job.name:
            began = time.perf_counter()
            sweep(now(), (job,))
            taken[f"{job.name}_s"] = rounded(time.perf_counter() - began)
    return taken


def _checked() -> Figures:
    """Send one household's two years through ingest and compare."""
    from portal.metering.models import MeterRegister
    from tests.bench.ingested import same_as_ingested

    return same_as_ingested(MeterRegister.objects.order_by("pk")[0].pk)


def _database_mib() -> int:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_database_size(current_database())")
        return int(cursor.fetchone()[0]) // 2**20


def _sessions(count: int) -> list[tuple[Viewer, bool]]:
    """Return so many people who are signed in, with their homes, and whether those have several meters."""
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
        point, *others = ServicePoint.objects.filter(occupancies__account__access__user=user).order_by("pk")
        meter = point.installations.get().meter.meter_id
        cookie = f"{settings.SESSION_COOKIE_NAME}={session.session_key}"
        found.append((Viewer(cookie, point.public_id, meter), bool(others)))
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
                _get(http.client.HTTPConnection("127.0.0.1", port, timeout=60), "/accounts/login/", "")
                break
            if process.poll() is not None:
                raise RuntimeError(f"`portal serve` ended with {process.returncode}")
            time.sleep(0.1)
        yield port, process
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _get(client: http.client.HTTPConnection, path: str, cookie: str) -> tuple[int, float, int]:
    """Return (status, seconds to the last byte, bytes) of one page."""
    began = time.perf_counter()
    client.request("GET", path, headers={"Cookie": cookie} if cookie else {})
    answer = client.getresponse()
    size = len(answer.read())
    return answer.status, time.perf_counter() - began, size


def _usage_pages(port: int, pid: int, homes: Sequence[tuple[Viewer, bool]], rounds: int) -> Figures:
    """Ask for every view of many homes, each home for the first time; then for the very same pages again."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    for query in VIEWS.values():  # what a process needs once is no part of a page's time: the last home pays for it
        _get(client, f"/usage/{homes[-1][0].public_id}/{query}", homes[-1][0].cookie)
    asked = _asked([viewer for viewer, _ in homes], [viewer for viewer, several in homes if several], rounds)
    found: Figures = {}
    for kind in ("cold", "warm"):
        taken, sizes, used_s = dict[str, list[float]](), list[int](), cpu_s(pid)
        for name, viewer in asked:
            status, took_s, size = _get(client, f"/usage/{viewer.public_id}/{VIEWS[name]}", viewer.cookie)
            if status != 200:
                raise RuntimeError(f"{name}: status {status}")
            taken.setdefault(name, []).append(took_s)
            sizes.append(size)
        every = [took_s for values in taken.values() for took_s in values]
        views = {name: _spread(values) for name, values in taken.items()}
        each_ms = rounded(1000 * (cpu_s(pid) - used_s) / len(every))
        found[kind] = {"pages": len(every), "serve_cpu_ms_per_page": each_ms, "all": _spread(every), **views}
        found["page_bytes_median"] = round(statistics.median(sizes))
        say(f"usage pages, {kind}: {found[kind]['all']}")
    return found


def _asked(all_homes: Sequence[Viewer], with_several: Sequence[Viewer], rounds: int) -> list[tuple[str, Viewer]]:
    """Return so many requests of each view: as long as there are enough homes, each comes once."""
    asked, ones, others = list[tuple[str, Viewer]](), 0, 0
    apart = set(with_several)
    single = [viewer for viewer in all_homes if viewer not in apart] or list(all_homes)
    for _ in range(rounds):
        for name, query in VIEWS.items():
            if ALL_METERS in query and with_several:
                asked.append((name, with_several[others % len(with_several)]))
                others += 1
            else:
                asked.append((name, single[ones % len(single)]))
                ones += 1
    return asked


def _spread(values: Sequence[float]) -> dict[str, float]:
    ordered = sorted(values)
    at = {name: ordered[min(len(ordered) - 1, int(len(ordered) * part))] for name, part in _PARTS.items()}
    return {f"{name}_ms": rounded(value * 1000) for name, value in at.items()}


_PARTS = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


def _sign_in_to_chart(port: int) -> Figures:
    """Return how long a person waits from the click on `sign in` until the chart is drawn, five people."""
    from playwright.sync_api import sync_playwright

    from tests.browser import pages

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
        "first_s": rounded(taken[0]),
    }


def _who_know_their_password() -> list[str]:
    from django.contrib.auth.hashers import make_password
    from django.db import connection

    from portal.core.models import User

    people = list(User.objects.filter(is_staff=False).order_by("-pk")[:KNOWN])
    for user in people:
        user.password = make_password(PASSWORD, hasher="argon2")
        user.save(update_fields=["password"])
    connection.close()  # Playwright runs an event loop in this thread, in which Django would refuse to use it
    return [user.email for user in people]


def _live(port: int, pid: int, viewers: Sequence[Viewer]) -> Figures:
    """Open a stream for every viewer, then commit a batch that touches all their meters every second."""
    from portal.core.services import current_change

    before = proc_bytes(pid, "VmRSS")
    publish = _publisher([viewer.meter for viewer in viewers])
    commits: dict[int, float] = {}
    with audience(port, viewers, since=current_change()) as watching:
        open_s = watching.wait_until_open(OPEN_S_MAX)
        say(f"{len(viewers)} streams are open after {open_s:.1f} s")
        used_s, began = cpu_s(pid), time.perf_counter()
        for number in range(min(LIVE_S, len(viewers) // 10)):
            time.sleep(max(0.0, began + number - time.perf_counter()))
            commits |= publish(number)
        seen = watching.seen(max(commits), ARRIVE_S_MAX)
        cpu = (cpu_s(pid) - used_s) / (time.perf_counter() - began)
        rss = proc_bytes(pid, "VmRSS")
    return {
        **_lags(commits, seen, len(viewers)),
        "opened_in_s": rounded(open_s),
        "serve_cpu_percent": round(100 * cpu),
        "serve_rss_mib": round(rss / 2**20),
        "serve_rss_mib_before": round(before / 2**20),
    }


def _lags(commits: dict[int, float], seen: Seen, viewers: int) -> Figures:
    """Return how long after each commit each viewer knew of it. What did not come until the deadline is lost."""
    ordered = sorted(commits)
    newest: dict[int, int] = dict.fromkeys(range(viewers), 0)
    lags = []
    for viewer, change, moment in sorted(seen.events, key=lambda event: event[2]):
        lags += [max(0.0, moment - commits[c]) for c in ordered if newest[viewer] < c <= change]
        newest[viewer] = max(newest[viewer], change)
    shown = [moment - commits[change] for change, moment in seen.shown if change in commits]
    expected = len(commits) * viewers
    found: Figures = {
        "viewers": viewers,
        "updates": len(commits),
        "seen_expected": expected,
        "seen": len(lags),
        "lost": expected - len(lags),
        "events": len(seen.events),
        "lag": _spread(lags or [float("nan")]),
        "lag_worst_ms": rounded(1000 * max(lags, default=float("nan"))),
        "shown_again": {"pages": len(shown), **_spread(shown or [float("nan")])},
    }
    if seen.faults:
        found["faults"] = seen.faults[:5]
    if found["lost"] or seen.faults:
        found["error"] = f"{found['lost']} updates were not seen, {len(seen.faults)} faults"
    return found


def _publisher(meters: Sequence[str]) -> Callable[[int], dict[int, float]]:
    """Return what commits a read of every meter and tells the number of the change and when it was committed."""
    from django.db import transaction

    from domain.ids import CollectorId
    from portal.core.clock import now
    from portal.fleet.models import Collector
    from portal.metering import services as metering
    from portal.metering.models import RegisterState
    from sync.signing import SigningKey
    from tests.portal.building import Box, read, total

    box = Box(CollectorId("hw-city-1"), SigningKey.generate())
    collector, _ = Collector.objects.get_or_create(collector_id=box.name)
    rows = RegisterState.objects.filter(register__meter__meter_id__in=meters)
    counts = dict(rows.values_list("register__meter__meter_id", "last_count"))

    def publish(number: int) -> dict[int, float]:
        moment = now().replace(microsecond=0)
        batch = box.batch([read(total(meter), counts[meter] + number + 1, moment) for meter in meters])
        with transaction.atomic():
            epoch = metering.epoch_row(collector, batch, received_at=moment)
            assert epoch is not None
            change = metering.apply_contents(batch, epoch=epoch, received_at=moment)
        return {change: time.perf_counter()}

    return publish


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program", choices=("build", "measure"))
    for name in ("meters", "days", "viewers", "rounds"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--sessions", type=Path, required=True)
    asked = parser.parse_args()
    if asked.program == "build":
        build(asked.meters, asked.days, asked.viewers, asked.rounds, asked.sessions)
    else:
        measure(asked.viewers, asked.rounds, asked.sessions)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    _main()
