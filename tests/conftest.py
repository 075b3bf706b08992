"""Fixtures that every package's tests share."""

from __future__ import annotations

import os
import re
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from _pytest.nodeid import coerce_node_id
from hypothesis import HealthCheck, settings
from playwright.sync_api import sync_playwright

from tests import migrated
from tests.browser import pages

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

# How long an example takes says what else the machine does; Hypothesis allows a fifth of a second. It stands before the
# first test is imported: what one sets for itself is added to this.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real meter data beside the checkout; the test skips with one line where it is absent."""
    folder = Path(os.environ.get("HEADWATER_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    if not (folder / "meters").is_dir():
        pytest.skip(f"required-data: real meter data not found at {folder}; set HEADWATER_DATA")
    return folder


@pytest.fixture(scope="session")
def django_db_modify_db_settings(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    django_db_modify_db_settings_parallel_suffix: None,
) -> Iterator[None]:
    """Let the workers' databases have the tables of one, in place of migrating each: `migrate` finds all done."""
    folder = tmp_path_factory.getbasetemp()
    if not hasattr(request.config, "workerinput") or not migrated.in_a_session(folder):
        yield
        return
    from django.db import connection

    tables = migrated.tables_for_tests(folder, os.environ.get("DATABASE_URL", ""))
    if isinstance(tables, str):
        connection.settings_dict["TEST"]["TEMPLATE"] = tables
        yield
        return
    with closing(tables):
        yield


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """One browser for a file of tests; every test gets contexts of its own.

    It ends with the file: while Playwright lives, its event loop counts as running, and neither Django nor asyncio work
    in what the same process tests next.
    """
    pages.chromium_path()
    with sync_playwright() as playwright:
        browser = pages.launch(playwright)
        yield browser
        browser.close()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Let the groups of `xdist_group` hold: xdist 3.8 writes them where pytest 9.2 no longer reads a test's name."""
    for item in session.items:
        if (named := getattr(item, "_nodeid", "")).startswith(f"{item.nodeid}@"):
            item._id = coerce_node_id(named)


def _skips_by_reason(terminal: pytest.TerminalReporter) -> Counter[str]:
    """Count skipped tests by the first words of their reason."""
    return Counter(
        str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr).removeprefix("Skipped: ")
        for report in terminal.stats.get("skipped", [])
    )


def _required_but_skipped(terminal: pytest.TerminalReporter) -> list[str]:
    required = tuple(f"required-{name}:" for name in os.environ.get("HEADWATER_REQUIRE", "").split(",") if name)
    return [reason for reason in _skips_by_reason(terminal) if reason.startswith(required)]


def _broken(terminal: pytest.TerminalReporter) -> dict[str, str]:
    """Return the tests that failed, or whose fixtures did, each with the last line of what it said."""
    reports = [*terminal.stats.get("failed", []), *terminal.stats.get("error", [])]
    return {re.sub(r"@[^][]*$", "", report.nodeid): _last_words(report) for report in reports}  # less the group


def _last_words(report: pytest.TestReport | pytest.CollectReport) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    return " ".join(str(crash.message if crash else report.longrepr).split())[:300]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the skips by reason; write what failed to the file HEADWATER_FAILED_TESTS, for `scripts/test`."""
    if "HEADWATER_FAILED_TESTS" in os.environ and not hasattr(terminalreporter.config, "workerinput"):
        lines = [f"{name}\t{words}\n" for name, words in sorted(_broken(terminalreporter).items())]
        lines += [f"required and skipped\t{reason}\n" for reason in _required_but_skipped(terminalreporter)]
        Path(os.environ["HEADWATER_FAILED_TESTS"]).write_text("".join(lines), encoding="utf-8")
    for reason, count in sorted(_skips_by_reason(terminalreporter).items()):
        terminalreporter.write_line(f"skipped {count}: {reason}")
    for report in terminalreporter.stats.get("passed", []):
        for name, value in report.user_properties:
            if name == "figure":
                terminalreporter.write_line(f"measured: {value}")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run when something named in HEADWATER_REQUIRE was skipped."""
    terminal = session.config.pluginmanager.get_plugin("terminalreporter")
    if terminal is None or hasattr(session.config, "workerinput"):
        return
    broken = _required_but_skipped(terminal)
    if broken and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        terminal.write_line(f"required here but skipped: {'; '.join(broken)}", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
