"""What the city of the pages bench is made of, how a run ends, and that a viewer who saw nothing is counted."""

from __future__ import annotations

import os
import signal
import struct
import sys
from datetime import UTC, date, datetime
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from portal.metering.packed import unpack_day
from tests.bench import page_stages, pages
from tests.bench.households import Span, kept
from tests.bench.loading import bytes_field, crossed, field, first_column
from tests.bench.viewers import Seen
from tests.gateway.street import lives, until
from tests.postgres import PostgresMissing

CHICAGO = ZoneInfo("America/Chicago")
UNTIL = datetime(2026, 6, 17, 20, 20, tzinfo=UTC)


def test_a_household_is_kept_as_its_reads_say() -> None:
    one = kept(3, Span(date(2026, 6, 14), 4, CHICAGO, UNTIL), 24)
    folded = [read for day, _, packed in one.folded for read in unpack_day(day, packed)]
    assert [reads for _, reads, _ in one.folded] == [24, 24, 24]
    assert len(one.recent) == 21  # the hours until 20:20
    assert one.last == one.recent[-1]
    every = [*folded, *one.recent]
    assert all(a.read_us < b.read_us and a.raw_count <= b.raw_count for a, b in pairwise(every))
    assert [day for day, *_ in one.volumes] == [date(2026, 6, n) for n in (13, 14, 15, 16)]
    used = sum(counts for _, counts, *_ in one.volumes)
    assert folded[-1].raw_count - folded[0].raw_count <= used <= every[-1].raw_count - folded[0].raw_count


def test_rows_come_in_the_order_of_time_or_of_registers() -> None:
    starts = [first_column(2, register) for register in (7, 8, 9)]
    ends = [[field("i", 1), field("i", 2)], [bytes_field(b"x")]]
    by_register, by_end = (b"".join(crossed(starts, [0, 1, 0], ends, by_end=value)) for value in (False, True))
    one, two, three = starts
    (a, b), (x,) = ends
    assert by_register == one + a + one + b + two + x + three + a + three + b
    assert by_end == one + a + two + x + three + a + one + b + three + b
    assert struct.unpack(">hiqii", one + a) == (2, 8, 7, 4, 1)
    assert x == b"\0\0\0\1x"


def test_what_a_viewer_did_not_see_is_lost() -> None:
    commits = {11: 100.0, 12: 101.0}
    both = [(0, 11, 100.1), (0, 12, 101.2)]
    whole = page_stages._lags(commits, Seen([*both, (1, 12, 101.5)]), 2)
    assert (whole["lost"], whole["seen"], whole["events"]) == (0, 4, 3)  # one event stood for both changes
    assert whole["lag_worst_ms"] == 1500
    assert "error" not in whole
    short = page_stages._lags(commits, Seen([*both, (1, 11, 100.5)]), 2)
    assert short["lost"] == 1
    assert "1 updates were not seen" in short["error"]


def test_targets_of_stages_that_ended() -> None:
    usage = {kind: {"all": {"p95_ms": p95}} for kind, p95 in (("cold", 51.0), ("warm", 50.0))}
    live = {"lost": 1, "lag": {"p99_ms": 20.0}}
    found = pages.within({"usage": usage, "sign_in_to_chart": {"error": "no browser"}, "live": live})
    assert found == {"usage_p95_cold": False, "usage_p95_warm": True, "live_lag_p99": False}


def test_a_stage_that_fails_says_so_and_the_next_one_runs(capsys: pytest.CaptureFixture[str]) -> None:
    def fails() -> dict[str, object]:
        raise RuntimeError("broken")

    before = signal.getsignal(signal.SIGALRM)
    try:
        page_stages._stage("jobs", fails)
        page_stages._stage("usage", lambda: {"pages": 3})
    finally:
        signal.signal(signal.SIGALRM, before)
    first, second = capsys.readouterr().out.splitlines()
    assert '"error": "RuntimeError: broken"' in first
    assert '"pages": 3' in second


def test_what_a_program_started_ends_with_it() -> None:
    child = "import signal, subprocess; print(subprocess.Popen(['sleep', '600']).pid, flush=True); signal.pause()"
    with pages._running([sys.executable, "-c", child], os.environ, limit_s=60) as process:
        assert process.stdout is not None
        started = int(process.stdout.readline())
    assert process.returncode != 0
    until(lambda: not lives(started), what="what it started to end")


def test_without_postgresql_the_pages_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_settings: object) -> None:
        raise PostgresMissing("required-postgres: none here")

    monkeypatch.setattr(pages, "throwaway_server", missing)
    found = pages.run(tmp_path, meters=7)
    assert found["postgresql"] == "required-postgres: none here"
    assert found["what"].startswith("7 meters")
