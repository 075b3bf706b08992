"""A portal with generated homes, served on a free loopback port, and a Chromium to look at it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser import pages
from tests.browser.homes import PASSWORD
from tests.browser.slow_link import slow_link
from tests.migrated import copy_tables

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, BrowserContext, Page

ROOT = Path(__file__).resolve().parents[2]
HEADWATER = Path(sys.executable).with_name("headwater")
START_S = 1781727605.0  # Wednesday 17 June 2026, 15:20:05 in Chicago: a summer afternoon, far from any midnight


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Fill and serve two portals at most, whatever the number of workers: one for every page's looks, one for all else.

    The filling takes longer than most of the tests. Two, because one chain of all of them would end last.
    """
    here = Path(__file__).parent
    for item in items:
        if item.path.parent == here:
            group = "browser-pages" if item.path.name == "test_every_page.py" else "browser"
            item.add_marker(pytest.mark.xdist_group(group))


@dataclass(frozen=True)
class ServedPortal:
    """The portal under test."""

    url: str
    environment: dict[str, str]

    def homes(self, *arguments: str) -> str:
        """Let something happen to the homes, as ingest would; return what it printed."""
        return self.happens("homes", *arguments)

    def happens(self, story: str, *arguments: str) -> str:
        """Run one of the programs beside the tests that fill the portal, in a process of its own."""
        return self.run(sys.executable, "-m", f"tests.browser.{story}", *arguments)

    def worker(self) -> None:
        """Let the worker do once what is due."""
        self.run(str(HEADWATER), "portal", "worker", "--once")

    def run(self, *command: str) -> str:
        """Run a program with the portal's settings until it ends well; return what it printed."""
        done = subprocess.run(
            command, cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=240, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


@pytest.fixture(scope="session")
def portal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedPortal]:
    """Initialise, fill and serve a portal for all tests of the session."""
    pages.chromium_path()
    directory = tmp_path_factory.mktemp("portal")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("HEADWATER_", "DATABASE_URL"))},
        "HEADWATER_PORTAL_DIR": str(directory),
        "HEADWATER_DEMO": "True",
        "HEADWATER_CLOCK": f"scaled:1.0:{time.time()!r}:{START_S!r}",
        "DJANGO_SETTINGS_MODULE": "portal.config.settings",
    }
    copy_tables(directory / "portal.sqlite3")
    subprocess.run([HEADWATER, "portal", "init"], cwd=ROOT, env=environment, check=True, timeout=300)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        served = ServedPortal(f"http://127.0.0.1:{listener.getsockname()[1]}", environment)
        print(served.homes("load"))
        log = (directory / "serve.log").open("wb")
        process = subprocess.Popen(
            [HEADWATER, "portal", "serve", "--fd", str(listener.fileno())],
            cwd=ROOT,
            env=environment,
            pass_fds=[listener.fileno()],
            stdout=log,
            stderr=log,
        )
    try:
        _wait_until_served(served.url, process, directory / "serve.log")
        with _perhaps_slow(served) as reached:
            yield reached
    finally:
        process.terminate()
        process.wait(timeout=30)
        log.close()


@contextmanager
def _perhaps_slow(served: ServedPortal) -> Iterator[ServedPortal]:
    """The portal behind a slow link, when HEADWATER_SLOW_PAGES_MS asks for one."""
    slow_ms = float(os.environ.get("HEADWATER_SLOW_PAGES_MS", 0))
    if not slow_ms:
        yield served
        return
    base, _, port = served.url.rpartition(":")
    with slow_link(int(port), slow_ms / 1000) as slow:
        yield replace(served, url=f"{base}:{slow}")


def _wait_until_served(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/accounts/login/", timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    pytest.fail(f"the portal did not start:\n{log.read_text(encoding='utf-8', errors='replace')}")


@dataclass(frozen=True)
class Visit:
    """Opens pages and remembers what the browser complained about."""

    portal: ServedPortal
    browser: Browser
    contexts: list[BrowserContext]
    complaints: list[str]
    sessions: dict[str, list[Any]]

    def open(self, path: str = "", *, as_: str = "", size: tuple[int, int] = pages.DESK, fresh: bool = False) -> Page:
        """Return a page of that size, signed in as `as_` when given, at `path`.

        fresh  sign in through the form; else the session of an earlier sign-in serves again (hashing is slow).
        """
        width, height = pages.WALKED or size
        context = self.browser.new_context(viewport={"width": width, "height": height}, locale="en-US")
        self.contexts.append(context)
        context.set_default_timeout(90_000)
        page = context.new_page()
        page.on("console", lambda m: self.complaints.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        if as_ and (fresh or as_ not in self.sessions):
            pages.sign_in(page, self.portal.url, as_, PASSWORD)
            if not fresh:
                self.sessions[as_] = context.cookies()
        elif as_:
            context.add_cookies(self.sessions[as_])
            path = path or "/"
        if path:
            page.goto(self.portal.url + path)
        return page


@pytest.fixture(scope="session")
def sessions() -> dict[str, list[Any]]:
    """Cookies of those who have signed in."""
    return {}


@pytest.fixture
def visit(portal: ServedPortal, chromium: Browser, sessions: dict[str, list[Any]]) -> Iterator[Visit]:
    """Open pages; anything in the browser's console (a breach of the Content-Security-Policy too) fails the test."""
    visit = Visit(portal, chromium, [], [], sessions)
    yield visit
    for context in visit.contexts:
        context.close()
    unexpected = [text for text in visit.complaints if "the server responded with a status of 4" not in text]
    assert not unexpected, unexpected
