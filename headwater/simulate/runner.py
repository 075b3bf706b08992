"""Runs many seeds, on one core or several, in slices if asked to."""

from __future__ import annotations

import gc
import json
import logging
import multiprocessing
import signal
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from headwater.simulate.planted import planted
from headwater.simulate.portal_site import Site

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from headwater.simulate.scenario import Result

_AT_ONCE = 8


@dataclass(slots=True)
class Slice:
    """What is known of a range of seeds so far, kept in a file between slices.

    seconds  processor time of the seeds alone, all processes together.
    """

    done: set[int] = field(default_factory=set)
    seconds: float = 0.0
    reads: int = 0
    batches: int = 0
    violations: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def load(cls, file: Path | None) -> Slice:
        """Return what a file says, nothing when there is none."""
        if file is None or not file.exists():
            return cls()
        value = json.loads(file.read_text(encoding="utf-8"))
        return cls(set(value.pop("done")), **value)

    def save(self, file: Path | None) -> None:
        """Write it down, at once or not at all."""
        if file is not None:
            half = file.with_name(file.name + ".part")
            half.write_text(json.dumps({**self.as_json(), "done": sorted(self.done)}), encoding="utf-8")
            half.replace(file)

    def add(self, result: Result, seconds: float) -> None:
        """Count a seed."""
        self.done.add(result.seed)
        self.seconds += seconds
        self.reads += result.reads
        self.batches += result.batches
        if result.violation:
            self.violations.append(result.as_json())

    def as_json(self) -> dict[str, Any]:
        """Return the counts."""
        return {
            "seconds": round(self.seconds, 3),
            "reads": self.reads,
            "batches": self.batches,
            "violations": self.violations,
        }


_site: Site


def prepare() -> Site:
    """Make this process's portal; the caller removes it."""
    global _site  # noqa: PLW0603  Django allows one in a process
    _site = Site()
    from headwater.simulate import scenario  # noqa: F401  needs Django to be set up

    logging.disable(logging.CRITICAL)  # what production code says of every fault is no news here
    gc.collect()
    gc.freeze()
    return _site


def run_one(seed: int, plant: str = "") -> tuple[Result, float]:
    """Run one seed on this process's portal; returns its result and how much processor time it took."""
    from headwater.simulate.scenario import run_seed

    began_s = time.process_time()
    with planted(plant):
        result = run_seed(seed, _site)
    return result, time.process_time() - began_s


def _move() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _site.move()


def _run_bare(arguments: tuple[int, str]) -> tuple[Result, float]:
    result, seconds = run_one(*arguments)
    result.trace = []
    return result, seconds


def run_many(seeds: Sequence[int], *, jobs: int, plant: str = "") -> Iterator[tuple[Result, float]]:
    """Yield the results of many seeds as they come."""
    if jobs <= 1:
        yield from (_run_bare((seed, plant)) for seed in seeds)
        return
    # Forked, so that Django is set up and its database migrated once.
    with multiprocessing.get_context("fork").Pool(jobs, _move) as pool:
        yield from pool.imap_unordered(_run_bare, ((seed, plant) for seed in seeds), chunksize=_AT_ONCE)


def parse_seeds(text: str) -> list[int]:
    """Return the seeds in a text such as `0-199` or `7,12,40-44`; raises ValueError."""
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        seeds += range(int(first), int(last if dash else first) + 1)
    return seeds


def run_slice(
    seeds: Sequence[int],
    *,
    jobs: int,
    plant: str,
    state: Path | None,
    ends_s: float,
    tell: Callable[[Result, float], None],
) -> Slice:
    """Run what is left of the seeds until all are done, `ends_s` (monotonic) is reached or a planted bug is found."""
    progress = Slice.load(state)
    left = [seed for seed in seeds if seed not in progress.done]
    for result, seconds in run_many(left, jobs=jobs, plant=plant):
        progress.add(result, seconds)
        tell(result, seconds)
        if len(progress.done) % 50 == 0:
            progress.save(state)
        if time.monotonic() > ends_s or (plant and result.violation):
            break
    progress.save(state)
    return progress
