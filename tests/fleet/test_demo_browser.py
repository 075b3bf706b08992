"""What a resident sees of it: water arriving without a reload, and a leak's banner on one page only."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from headwater.demo.street_files import DEMO_PASSWORD, resident_email
from headwater.demo.system import Options, System
from tests.browser import pages

pytestmark = pytest.mark.xdist_group("demo-faults")


@contextmanager
def running(options: Options) -> Iterator[System]:
    """A demo, started and at the end stopped."""
    system = System(options)
    try:
        system.start(lambda text: None)
        yield system
    finally:
        system.stop()


def resident(chromium: Browser, system: System, number: int) -> Page:
    """A phone on which the resident behind the n-th meter has signed in."""
    page = chromium.new_context(viewport={"width": 390, "height": 844}).new_page()
    pages.sign_in(page, system.url, resident_email(number), DEMO_PASSWORD)
    return page


def until(done: Callable[[], bool], *, system: System, seconds: float, what: str) -> None:
    """Wait for something that the system does by itself."""
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, what
        system.tend()
        time.sleep(0.2)


def round_s(system: System, line: str) -> float:
    """How long the last round of a bus took, as its collector says."""
    buses: list[dict[str, Any]] = [bus for c in system.collectors for bus in c.status().get("buses", ())]
    return next(bus["last_round_s"] or 0.0 for bus in buses if bus["name"] == line)


def test_a_pulse_at_the_meter_appears_without_reload(
    tmp_path: Path, chromium: Browser, record_property: Callable[[str, object], None]
) -> None:
    """Within ten seconds and one bus round, on an M-Bus line of five meters and on Modbus TCP."""
    arguments = ("--mbus", "5", "--tcp", "3", "--rtu", "0")
    with running(Options(directory=tmp_path, meters=8, every_s=5.0, street_arguments=arguments)) as system:
        system.ask_street(do="freeze")  # from here on, only the pulse moves a dial
        lines = {line["name"]: line for line in system.street["lines"]}
        for protocol in ("mbus", "modbus-tcp"):
            numbered = enumerate(system.street["meters"], start=1)
            number, meter = next((n, m) for n, m in numbered if lines[m["line"]]["protocol"] == protocol)
            page = resident(chromium, system, number)
            before = system.ask_street(do="dials")["dials"][meter["meter_id"]]["count"]
            pages.wait_for_dial(page, before, timeout_s=60)
            pages.wait_for_live(page)
            page.evaluate("() => { window.neverReloaded = true }")
            system.ask_street(do="pulse", meter=meter["meter_id"], counts=500)
            started = time.monotonic()
            after = pages.wait_for_dial(page, (before + 500) % (meter["modulus"] or 10**18), timeout_s=40)
            took_s, one_round_s = time.monotonic() - started, round_s(system, meter["line"])
            record_property(
                "figure", f"{protocol}: pulse on the page after {took_s:.1f} s; a round is {one_round_s:.1f} s"
            )
            assert took_s <= 10 + one_round_s
            assert page.evaluate("() => window.neverReloaded === true")
            assert after.volume is not None
            assert after.volume > 0
            page.context.close()


def test_a_leak_at_one_meter_raises_a_banner_there_and_nowhere_else(
    tmp_path: Path, chromium: Browser, record_property: Callable[[str, object], None]
) -> None:
    """A toilet that runs at 60 litres an hour, found in hours of virtual time with the thresholds of production."""
    options = Options(
        directory=tmp_path, meters=4, speed=720.0, every_s=900.0, leaks=["1:60"], street_arguments=("--tcp-only",)
    )
    with running(options) as system:
        began = system.clock.now()

        def found() -> bool:
            return any(collector.status().get("leaks") for collector in system.collectors)

        until(found, system=system, seconds=150, what="no leak was found")
        hours = (system.clock.now() - began).total_seconds() / 3600
        record_property("figure", f"a 60 l/h leak was on the collector's list after {hours:.1f} virtual hours")
        assert hours < 24
        leaking = resident(chromium, system, 2)
        leaking.wait_for_selector("#leak-banner", timeout=20_000)
        for number in (1, 3, 4):
            page = resident(chromium, system, number)
            page.wait_for_selector("#dial-count")
            assert page.locator("#leak-banner").count() == 0
            page.context.close()
