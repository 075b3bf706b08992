"""The residents' pages with a whole city in PostgreSQL: server time, sign-in to chart, live viewers.

`python -m tests.bench --only pages [--meters N] [--days N] [--viewers N]`. Two programs (`page_stages.py`) share the
work: the first fills the database, on a server whose durability is off meanwhile; then the server is started anew with
the settings of a production server and with nothing of the database in memory, and the second program asks the
product's own `portal serve`, one process, over loopback. Sessions are made in the database, except for the one sign-in
that a browser does. Figures of each stage are told on stderr as soon as it has ended.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from threading import Timer
from typing import TYPE_CHECKING, Any

from tests.bench.loading import FAST_START
from tests.bench.measure import rounded, say
from tests.postgres import PostgresMissing, throwaway_server

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

METERS, DAYS, VIEWERS = 41_000, 730, 1_000
QUICK = (330, 40, 50)
ROUNDS, QUICK_ROUNDS = 40, 3
"""Requests of each view, every one for another home."""
PROGRAM_S_MAX = {"build": 1800, "measure": 1260}
WRITE_OUT_S_MAX = 600.0
SERVED_WITH = {"shared_buffers": "1GB", "effective_cache_size": "8GB", "random_page_cost": "1.1"}
"""Otherwise as PostgreSQL comes, durable."""
TARGETS = {"usage_p95_ms": 50, "sign_in_to_chart_s": 1.0, "live_lag_p99_s": 1.0}
_GRACE_S = 30


def run(
    folder: Path,
    *,
    quick: bool = False,
    meters: int | None = None,
    days: int | None = None,
    viewers: int | None = None,
) -> dict[str, Any]:
    """Measure on a PostgreSQL of its own."""
    standard = QUICK if quick else (METERS, DAYS, VIEWERS)
    chosen = [given or usual for given, usual in zip((meters, days, viewers), standard, strict=True)]
    sizes = dict(zip(("meters", "days", "viewers"), chosen, strict=True))
    found: dict[str, Any] = {"what": _what(sizes), "targets": TARGETS, "served_with": SERVED_WITH}
    home = folder / "portal"
    home.mkdir(parents=True)
    arguments = [f"--{name}={value}" for name, value in sizes.items()]
    arguments += [f"--rounds={QUICK_ROUNDS if quick else ROUNDS}", f"--sessions={folder / 'sessions.json'}"]
    try:
        with throwaway_server(FAST_START) as server:
            environment = _environment(server.url, home)
            found |= _program("build", arguments, environment)
            if "error" not in found:
                began = time.monotonic()
                server.stop(within_s=WRITE_OUT_S_MAX)
                forget_files(server.data)
                found["written_out_s"] = rounded(time.monotonic() - began)
                server.start(SERVED_WITH)
                found |= _program("measure", arguments, environment)
    except PostgresMissing as missing:
        return {**found, "postgresql": str(missing)}
    return {**found, "within": within(found), "load_average_1_min": os.getloadavg()[0]}


def _what(sizes: Mapping[str, int]) -> str:
    return (
        f"{sizes['meters']} meters of which one in 11 is a home's second one, {sizes['days']} days of reads, 7 of 8 "
        "meters every hour, the others every 15 minutes, rows in the order of time; one serve process on loopback; "
        "usage pages: one request at a time, from request to the last byte; cold: the database server was started anew "
        "with its files out of memory, every page for another home; warm: the same pages once more; sign-in to chart: "
        "from the click on `sign in` to the drawn chart in headless Chromium; live: every second a batch that touches "
        "every viewer's meter, from its commit to the event at each viewer; shown_again: to the page's new parts, for "
        "five viewers"
    )


def within(found: Mapping[str, Any]) -> dict[str, bool]:
    """Return which targets are met; a target whose stage did not end is not there."""
    result = {}
    for kind in ("cold", "warm"):
        if kind in found.get("usage", {}):
            result[f"usage_p95_{kind}"] = found["usage"][kind]["all"]["p95_ms"] <= TARGETS["usage_p95_ms"]
    if "worst_s" in found.get("sign_in_to_chart", {}):
        result["sign_in_to_chart"] = found["sign_in_to_chart"]["worst_s"] <= TARGETS["sign_in_to_chart_s"]
    if "lag" in found.get("live", {}):
        live = found["live"]
        result["live_lag_p99"] = not live["lost"] and live["lag"]["p99_ms"] <= 1000 * TARGETS["live_lag_p99_s"]
    return result


def forget_files(folder: Path) -> None:
    """Bring a folder's files to the disk and take them out of the machine's memory."""
    for file in sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()):
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def _environment(url: str, home: Path) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("HEADWATER_", "DJANGO_"))}
    return kept | {
        "DJANGO_SETTINGS_MODULE": "portal.config.settings",
        "DATABASE_URL": url,
        "HEADWATER_PORTAL_DIR": str(home),
        "HEADWATER_DEMO": "True",  # pages in clear text on loopback
        "HEADWATER_BROKER_URL": "mqtts://127.0.0.1:8883",
    }


def _program(name: str, arguments: list[str], environment: Mapping[str, str]) -> dict[str, Any]:
    """Run a program and return what its stages found; `error` tells which of them failed."""
    found: dict[str, Any] = {}
    command = [sys.executable, "-m", "tests.bench.page_stages", name, *arguments]
    with _running(command, environment, limit_s=PROGRAM_S_MAX[name]) as process:
        assert process.stdout is not None
        for line in process.stdout:
            stage: dict[str, Any] = json.loads(line)
            say(line.strip())
            found |= stage
        code = process.wait()
    failed = [f"{stage}: {figures['error']}" for stage, figures in found.items() if "error" in figures]
    if code:
        failed.append(f"the program `{name}` ended with {code}")
    return {**found, "error": "; ".join(failed)} if failed else found


@contextmanager
def _running(command: list[str], environment: Mapping[str, str], *, limit_s: float) -> Iterator[subprocess.Popen[str]]:
    """Run a command in a group of its own; whatever it started ends with the block, or when its time is over."""
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True)
    limit = Timer(limit_s, _signal, (process, signal.SIGTERM))
    limit.daemon = True
    limit.start()
    try:
        yield process
    finally:
        limit.cancel()
        _signal(process, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_S)
        _signal(process, signal.SIGKILL)
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _signal(process: subprocess.Popen[str], number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)
