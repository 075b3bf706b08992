"""What a bus owner is asked to do beside its plan, and what it tells about itself."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from domain.errors import ResourceUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from datetime import datetime

    from drivers.base import Link, ScanResult


@dataclass(slots=True)
class MeterState:
    """For health and `status`: what is known of one meter."""

    last_read_at: datetime | None = None
    last_count: int | None = None
    failures: int = 0
    last_error: str = ""


@dataclass(slots=True)
class BusState:
    """For health and `status`: the line and what went over it since the start; slots that passed unused."""

    state: str = "starting"
    message: str = ""
    replies: int = 0
    no_replies: int = 0
    bad_replies: int = 0
    missed_slots: int = 0
    last_round_s: float | None = None
    busy_with: str = ""
    meters: dict[str, MeterState] = field(default_factory=dict)


@dataclass(slots=True)
class Job:
    """Something to do with the open line, before any poll."""

    name: str
    work: Callable[[Link], Any]
    future: Future[Any]


class Search:
    """A scan that goes on whenever nobody else needs the line; whoever asked takes its results from a queue.

    begin  makes the steps of the scan from the open line, at the first of them.
    """

    def __init__(self, begin: Callable[[Link], Iterator[ScanResult]]) -> None:
        self._begin = begin
        self._steps: Iterator[ScanResult] | None = None
        self._results: SimpleQueue[ScanResult | Exception | None] = SimpleQueue()
        self.cancelled = False

    def step(self, link: Link) -> bool:
        """Do one step; False when it was the last."""
        if self.cancelled:
            return False
        try:
            if self._steps is None:
                self._steps = self._begin(link)
            result = next(self._steps, None)
        except Exception as error:  # whoever asked is told; the line goes on
            self.end(error)
            return False
        self._results.put(result)
        return result is not None

    def end(self, error: Exception | None = None) -> None:
        """End the results, with an error or as complete."""
        self._results.put(error)

    def results(self) -> Generator[ScanResult, None, None]:
        """Yield results as they come; raises the scan's error. Closing it ends the scan."""
        try:
            while (result := self._results.get()) is not None:
                if isinstance(result, Exception):
                    raise result
                yield result
        finally:
            self.cancelled = True


def wait_for(future: Future[Any], timeout_real_s: float) -> Any:
    """Return a job's result. raises ResourceUnavailable when the line has no time for it, or the job's own error."""
    try:
        return future.result(timeout_real_s)
    except TimeoutError:
        future.cancel()
        raise ResourceUnavailable("the bus was busy for too long; try again, or see headwater gateway status") from None
