"""A thousand people who look at their usage page: a process of its own that holds their streams open and notes events.

Times are the machine's monotonic clock, which all of its processes share. Some of them do what a browser does when an
event comes: they ask for the page again.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import resource
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from multiprocessing.connection import Connection

ASKING_AGAIN = 5
"""So many viewers, the first ones, fetch the page after every event."""
_AT_ONCE = 50
"""Streams that are being opened at one time."""


class Viewer(NamedTuple):
    """Somebody who is signed in, at a home."""

    cookie: str
    public_id: str
    meter: str


@dataclass(frozen=True, slots=True)
class Seen:
    """What came: events as (viewer, change, moment), pages fetched anew as (change, moment), and what went wrong."""

    events: list[tuple[int, int, float]] = field(default_factory=list)
    shown: list[tuple[int, float]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


class Audience:
    """The other process, as the one that publishes sees it."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def wait_until_open(self, within_s: float) -> float:
        """Wait until every stream is open and return how long that took; raises RuntimeError."""
        if not self._pipe.poll(within_s):
            raise RuntimeError(f"the streams did not open within {within_s:.0f} s")
        open_s, fault = self._pipe.recv()
        if fault:
            raise RuntimeError(fault)
        return float(open_s)

    def seen(self, last_change: int, within_s: float) -> Seen:
        """Wait until everybody saw the last change, or so long, and return everything that was seen."""
        self._pipe.send((last_change, within_s))
        if not self._pipe.poll(within_s + 30):
            raise RuntimeError("the viewers do not answer")
        found: Seen = self._pipe.recv()
        return found


@contextmanager
def audience(port: int, viewers: Sequence[Viewer], *, since: int) -> Iterator[Audience]:
    """Open a stream for every viewer, whose page is of the change `since`, until the block ends."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_run, args=(port, viewers, since, there), daemon=True)
    process.start()
    there.close()
    try:
        yield Audience(here)
    finally:
        here.close()
        process.terminate()
        process.join(10)


def _run(port: int, viewers: Sequence[Viewer], since: int, pipe: Connection) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4 * len(viewers) + 256)), hard))
    asyncio.run(_watch(port, viewers, since, pipe))


async def _watch(port: int, viewers: Sequence[Viewer], since: int, pipe: Connection) -> None:
    watching = _Watching(port, len(viewers), since)
    began = time.perf_counter()
    tasks = [asyncio.create_task(watching.view(place, viewer)) for place, viewer in enumerate(viewers)]
    while watching.open < len(viewers) and not watching.seen.faults:
        await asyncio.sleep(0.02)
    pipe.send((time.perf_counter() - began, next(iter(watching.seen.faults), "")))
    while not pipe.poll():
        await asyncio.sleep(0.05)
    change, within_s = pipe.recv()
    until = time.perf_counter() + within_s
    while min(watching.newest) < change and time.perf_counter() < until:
        await asyncio.sleep(0.05)
    while watching.fetching and time.perf_counter() < until:
        await asyncio.sleep(0.05)
    pipe.send(watching.seen)
    for task in tasks:
        task.cancel()


class _Watching:
    def __init__(self, port: int, viewers: int, since: int) -> None:
        self.seen, self.open, self.newest = Seen(), 0, [0] * viewers
        self.fetching: set[asyncio.Task[None]] = set()
        self._port, self._since, self._opening = port, since, asyncio.Semaphore(_AT_ONCE)

    async def view(self, place: int, viewer: Viewer) -> None:
        """Read one stream. It is open when its first line came; an event may stand for several changes."""
        try:
            async with self._opening:
                reader, writer = await self._ask(
                    f"/usage/{viewer.public_id}/stream/?since={self._since}", viewer.cookie
                )
                status = await reader.readline()
                if b" 200 " not in status:
                    raise ConnectionError(f"the stream was answered with {status!r}")
                while not (await reader.readline()).startswith(b"retry:"):
                    if reader.at_eof():
                        raise ConnectionError("the stream was closed before it began")
                self.open += 1
            while line := await reader.readline():
                if line.startswith(b"id: "):
                    change = int(line[4:])
                    self.seen.events.append((place, change, time.perf_counter()))
                    self.newest[place] = max(change, self.newest[place])
                    if place < ASKING_AGAIN:
                        task = asyncio.create_task(self._show(viewer, change))
                        self.fetching.add(task)
                        task.add_done_callback(self.fetching.discard)
            raise ConnectionError("the stream was closed")
        except OSError as fault:
            self.seen.faults.append(f"viewer {place}: {fault}")

    async def _show(self, viewer: Viewer, change: int) -> None:
        """Fetch the parts of the page that changed, as the page's script does."""
        more = "HX-Request: true\r\nConnection: close\r\n"
        try:
            reader, writer = await self._ask(f"/usage/{viewer.public_id}/", viewer.cookie, more)
            answer = await reader.read()
            writer.close()
        except OSError as fault:
            self.seen.faults.append(f"a page: {fault}")
            return
        if not answer.startswith(b"HTTP/1.1 200"):
            self.seen.faults.append(f"a page was answered with {answer[:40]!r}")
        self.seen.shown.append((change, time.perf_counter()))

    async def _ask(self, path: str, cookie: str, more: str = "") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: {cookie}\r\n{more}\r\n".encode("ascii"))
        return reader, writer
