"""Chooses states of the disk at the cuts of recordings, and checks each."""

from __future__ import annotations

import random
import shutil
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.proofs.power import choice
from tests.proofs.power.checking import Found, Violation, clear, digest_of, materialise
from tests.proofs.power.disk import Disk

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.proofs.power.promises import Promises
    from tests.proofs.power.scenes import Recording


@dataclass(frozen=True, slots=True)
class StateId:
    """Names a state for a replay: seed, disk, scene, cut, number at the cut, and the recording's shape."""

    seed: int
    disk: str
    scene: str
    cut: int
    number: int
    shape: str

    def __str__(self) -> str:
        return f"{self.seed}:{self.disk}:{self.scene}:{self.cut}:{self.number}:{self.shape}"

    @classmethod
    def parse(cls, text: str) -> StateId:
        """Return the id of its text; raises ValueError."""
        seed, disk, scene, cut, number, shape = text.split(":")
        return cls(int(seed), disk, scene, int(cut), int(number), shape)


@dataclass(slots=True)
class Result:
    """What a proof found.

    states  distinct by the content of every file; checks may be more: the same content after a later promise.
    """

    states: int = 0
    checks: int = 0
    cuts: int = 0
    elapsed_s: float = 0.0
    cpu_s: float = 0.0
    found: Found = field(default_factory=Found)
    by_scene: Counter[str] = field(default_factory=Counter)
    violations: list[tuple[StateId, str]] = field(default_factory=list)
    first_after: int | None = None
    violations_max: int = 5

    @property
    def is_over(self) -> bool:
        """Whether enough violations were found."""
        return len(self.violations) >= self.violations_max


class Proof:
    """Walks along recordings and checks states in a folder of its own (best in memory)."""

    def __init__(self, recordings: list[Recording], folder: Path, *, seed: int, disk: str = "worst") -> None:
        self.recordings, self.folder, self.seed, self.disk = recordings, folder, seed, disk
        self.result = Result()
        self.keep: Path | None = None
        self._checked: set[tuple[bytes, int]] = set()
        self._contents: set[bytes] = set()

    def run(self, states: int, *, violations_max: int = 5) -> Result:
        """Check that many distinct states, spread over the cuts of all recordings by what is pending there."""
        started, worked = time.monotonic(), time.process_time()
        self.result.violations_max = violations_max
        weights = [self._weights(recording) for recording in self.recordings]
        total = sum(sum(weight.values()) for weight in weights)
        done: list[Counter[int]] = [Counter() for _ in weights]
        for _ in range(6):
            share = max(states - self.result.states, 100) / total
            for recording, weight, numbers in zip(self.recordings, weights, done, strict=True):
                self._walk(recording, {cut: one * share for cut, one in weight.items()}, numbers, states)
            if self.result.states >= states or self.result.is_over:
                break
        self.result.cuts = sum(len(numbers) for numbers in done)
        self.result.elapsed_s = time.monotonic() - started
        self.result.cpu_s = time.process_time() - worked
        return self.result

    def _weights(self, recording: Recording) -> dict[int, float]:
        """Return how much each cut deserves: more where more is pending, in which more can differ."""
        return {cut: min(24.0, 1.0 + len(disk.pending())) ** 0.5 for cut, disk, _ in self._cuts(recording)}

    def _cuts(self, recording: Recording) -> Iterator[tuple[int, Disk, Promises]]:
        """Yield (number, disk, promises) at each cut: before the first call, and after each that changes the disk.

        Where marks of calls that returned follow, the cut is behind them: the disk is the same and more is promised.
        """
        disk = Disk(recording.initial, ordered=self.disk == "ordered")
        promises = recording.promises.copy()
        yield 0, disk, promises
        changed = 0
        for number, call in enumerate(recording.calls, 1):
            if call.kind == "mark":
                if changed and call.mark["say"].endswith("ing"):
                    yield changed, disk, promises
                    changed = 0
                promises.take(call.mark)
                continue
            if changed:
                yield changed, disk, promises
            disk.take(number, call)
            changed = number
        yield len(recording.calls), disk, promises

    def _walk(self, recording: Recording, quotas: dict[int, float], numbers: Counter[int], states: int) -> None:
        due = random.Random(f"{self.seed}:{recording.name}").random()
        for cut, disk, promises in self._cuts(recording):
            due += quotas[cut]
            tries = 0
            while due >= 1 and self.result.states < states and tries < 12 and not self.result.is_over:
                state = StateId(self.seed, self.disk, recording.name, cut, numbers[cut], recording.shape)
                numbers[cut] += 1
                tries += 1
                due -= self.check(state, recording, disk, promises)
            due = min(due, 3.0)

    def check(self, state: StateId, recording: Recording, disk: Disk, promises: Promises) -> bool:
        """Check one state; returns False when its very content was checked already against the same promises."""
        rng = random.Random(f"{state.seed}:{state.scene}:{state.cut}:{state.number}")
        tree = disk.tree(choice.fates(disk.pending(), state.cut, state.number, rng, ordered=state.disk == "ordered"))
        digest = digest_of(tree)
        if (digest, promises.marks) in self._checked:
            return False
        self._checked.add((digest, promises.marks))
        self._contents.add(digest)
        clear(self.folder)
        materialise(tree, self.folder, rng)
        self.result.checks += 1
        self.result.states = len(self._contents)
        self.result.by_scene[recording.name] += 1
        if self.keep is not None:
            shutil.copytree(self.folder, self.keep)
        try:
            recording.check(self.folder, promises, self.result.found)
        except Exception as error:
            # Whatever the store or the portal raises over a state is as bad as a promise that was broken.
            what = str(error) if isinstance(error, Violation) else f"{type(error).__name__}: {error}"
            self.result.violations.append((state, what))
            if self.result.first_after is None:
                self.result.first_after = self.result.states
        return True

    def replay(self, state: StateId, *, keep: Path | None = None) -> Result:
        """Check one state again; its files as the cut left them are copied to `keep`, a folder to be made."""
        self.keep = keep
        (recording,) = self.recordings
        for cut, disk, promises in self._cuts(recording):
            if cut == state.cut:
                self.check(state, recording, disk, promises)
        return self.result
