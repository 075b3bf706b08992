"""Power cuts at any call: `python -m tests.proofs.power [--states 5000] [--seed N] [--plant normal] [--replay ID]`.

Exit codes: 0 nothing broken (or the planted fault was found), 1 a promise was broken (or the plant was not found),
10 the calls of a process cannot be recorded here (and HEADWATER_REQUIRE asks for it), 0 with one line when it does not.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.proofs.power import portal, scenes
from tests.proofs.power.calls import strace_works
from tests.proofs.power.proof import Proof, Result, StateId
from tests.proofs.power.workload import PLANTS, WORK

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY = Path(__file__).resolve().parents[3]
SCENES = (*WORK, portal.PORTAL)
CI_STATES = 400


@contextmanager
def in_memory() -> Iterator[Path]:
    """Make a folder whose syncs cost nothing, where there is one."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="power-", dir=shared if os.access(shared, os.W_OK) else None) as name:
        yield Path(name)


def make(name: str, work: Path, *, plant: str = "") -> scenes.Recording:
    """Record a scene."""
    return portal.make(work, plant=plant) if name == portal.PORTAL else scenes.make(name, work, REPOSITORY, plant=plant)


def run(
    states: int,
    *,
    seed: int = 1,
    plant: str = "",
    disk: str = "worst",
    names: tuple[str, ...] = SCENES,
    violations_max: int = 5,
) -> Result:
    """Record the scenes and check that many states of them."""
    with in_memory() as work:
        recordings = [make(name, work, plant=plant) for name in names]
        folder = work / "state"
        folder.mkdir()
        return Proof(recordings, folder, seed=seed, disk=disk).run(states, violations_max=violations_max)


def replay(text: str, *, plant: str = "", keep: Path | None = None) -> Result:
    """Record the scene of a state anew and check that state again."""
    state = StateId.parse(text)
    with in_memory() as work:
        recording = make(state.scene, work, plant=plant)
        if recording.shape != state.shape:
            print(f"the recording differs ({recording.shape}, not {state.shape}): other code, Python or SQLite")
        (work / "state").mkdir()
        return Proof([recording], work / "state", seed=state.seed, disk=state.disk).replay(state, keep=keep)


def summary(result: Result, given: argparse.Namespace) -> dict[str, Any]:
    """Return the figures as JSON values."""
    return {
        "seed": given.seed,
        "disk": given.disk,
        "plant": given.plant,
        "states": result.states,
        "checks": result.checks,
        "cuts": result.cuts,
        "by_scene": dict(result.by_scene),
        "elapsed_s": round(result.elapsed_s, 1),
        "cpu_s": round(result.cpu_s, 1),
        "needed_salvage": result.found.salvaged_without_damage,
        "new_epochs": result.found.epochs,
        "sent_again_after_ack": result.found.resent,
        "violations": [{"id": str(state), "what": what} for state, what in result.violations],
        "first_after": result.first_after,
    }


def show(figures: dict[str, Any]) -> None:
    """Print the figures for a person."""
    print(
        f"power cuts, disk {figures['disk']}, seed {figures['seed']}: {figures['states']} distinct states "
        f"({figures['checks']} checks) at {figures['cuts']} cuts in {figures['elapsed_s']} s "
        f"({figures['cpu_s']} s of processor)"
    )
    print("  " + ", ".join(f"{name} {count}" for name, count in figures["by_scene"].items()))
    print(
        f"  stores that needed salvage {figures['needed_salvage']}, that began a new epoch {figures['new_epochs']}; "
        f"batches sent again after their ack {figures['sent_again_after_ack']}"
    )
    print(f"  promises broken: {len(figures['violations'])}")
    for violation in figures["violations"]:
        print(f"  {violation['id']}  {violation['what'][:300]}")
    if figures["plant"]:
        after = figures["first_after"]
        print(f"  planted {figures['plant']}: " + ("NOT FOUND" if after is None else f"found after {after} states"))


def in_ci(given: argparse.Namespace) -> int:
    """Check a fixed sample of every scene of the collector, and that a commit without a sync is found."""
    result = run(CI_STATES, seed=given.seed, names=tuple(WORK), violations_max=20)  # a portal takes 7 s to make
    show(summary(result, given))
    missed = not run(500, plant="normal", names=(PLANTS["normal"],), violations_max=1).violations
    print("  planted normal: " + ("NOT FOUND" if missed else "found"))
    return int(bool(result.violations or missed))


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m tests.proofs.power", description=__doc__)
    parser.add_argument("--states", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--disk", choices=("worst", "ordered"), default="worst")
    parser.add_argument("--plant", choices=tuple(PLANTS), default="")
    parser.add_argument("--scene", choices=SCENES, action="append")
    parser.add_argument("--replay", metavar="ID")
    parser.add_argument("--keep", metavar="FOLDER", type=Path, help="with --replay: where the state's files are put")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--ci", action="store_true", help="a fixed sample, and that a plant is found")
    given = parser.parse_args()
    logging.disable()  # a salvage is what some scenes are about
    if why := strace_works():
        print(f"skipped: {why}", file=sys.stderr)
        return 10 if "strace" in os.environ.get("HEADWATER_REQUIRE", "").split(",") else 0
    if given.replay:
        result = replay(given.replay, plant=given.plant, keep=given.keep)
        print("\n".join(f"{state}  {what}" for state, what in result.violations) or "no promise broken in this state")
        return 1 if result.violations else 0
    if given.ci:
        return in_ci(given)
    result = run(
        given.states,
        seed=given.seed,
        plant=given.plant,
        disk=given.disk,
        names=tuple(given.scene or SCENES),
        violations_max=1 if given.plant else 20,
    )
    figures = summary(result, given)
    if given.json:
        print(json.dumps(figures, indent=1))
    else:
        show(figures)
    return int(bool(result.violations) != bool(given.plant))


if __name__ == "__main__":
    sys.exit(main())
