"""`python -m headwater.simulate`: many seeds, one seed again, or a planted bug to be found."""

from __future__ import annotations

import json
import math
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from headwater.simulate import runner
from headwater.simulate.planted import PLANTS

if TYPE_CHECKING:
    from headwater.simulate.scenario import Result


@click.command()
@click.option("--seeds", default="0-199", show_default=True, help="Seeds, such as 0-199 or 7,12,40-44.")
@click.option("--jobs", default=1, show_default=True, help="Processes side by side.")
@click.option("--plant", type=click.Choice(sorted(PLANTS)), help="Plant a bug; success is to find it.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--state", type=click.Path(path_type=Path, dir_okay=False), help="File to go on from, slice by slice.")
@click.option("--for-s", "for_s", type=float, default=math.inf, help="Stop after this many seconds; see --state.")
@click.option("--replay", type=int, help="Run one seed alone.")
@click.option("--trace", is_flag=True, help="Print what happened in the replayed seed.")
def main(
    seeds: str,
    jobs: int,
    plant: str | None,
    state: Path | None,
    for_s: float,
    replay: int | None,
    *,
    as_json: bool,
    trace: bool,
) -> None:
    """Run production code of both sides under simulated faults; exits 1 when an invariant does not hold."""
    try:
        chosen = runner.parse_seeds(seeds) if replay is None else [replay]
    except ValueError:
        raise click.BadParameter(f"{seeds!r}: expected seeds such as 0-199 or 7,12,40-44") from None
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that nothing stays behind in memory
    site = runner.prepare()
    try:
        if replay is not None:
            sys.exit(_replay(replay, plant or "", as_json=as_json, trace=trace))
        sys.exit(_many(chosen, jobs, plant or "", state, for_s, as_json=as_json))
    finally:
        site.remove()


def _replay(seed: int, plant: str, *, as_json: bool, trace: bool) -> int:
    result, seconds = runner.run_one(seed, plant)
    if as_json:
        lines = {"trace": result.trace} if trace else {}
        click.echo(json.dumps({**result.as_json(), "seconds": round(seconds, 3), **lines}))
    else:
        for line in result.trace if trace else ():
            click.echo(line)
        _tell(result, seconds)
    return _verdict(bool(result.violation), plant)


def _many(seeds: list[int], jobs: int, plant: str, state: Path | None, for_s: float, *, as_json: bool) -> int:
    def tell(result: Result, seconds: float) -> None:
        if not as_json and result.violation:
            _tell(result, seconds)

    ends_s = time.monotonic() + for_s
    done = runner.run_slice(seeds, jobs=jobs, plant=plant, state=state, ends_s=ends_s, tell=tell)
    count = len(done.done)
    if as_json:
        click.echo(json.dumps({"seeds": count, "of": len(seeds), "plant": plant, **done.as_json()}))
    else:
        click.echo(
            f"{count} of {len(seeds)} seeds, {len(done.violations)} violations, {done.reads} reads in {done.batches} "
            f"batches, {done.seconds / max(1, count):.3f} s of processor time a seed"
        )
        if plant and done.violations:
            click.echo(f"{plant}: found at seed {done.violations[0]['seed']}")
    return _verdict(bool(done.violations), plant)


def _tell(result: Result, seconds: float) -> None:
    if result.violation:
        click.echo(f"seed {result.seed}, step {result.step}: {result.violation}")
        click.echo(f"    again: python -m headwater.simulate --replay {result.seed} --trace")
    else:
        click.echo(f"seed {result.seed}: {result.reads} reads, {result.batches} batches, {seconds:.3f} s")


def _verdict(violated: bool, plant: str) -> int:
    """Return the exit code: a planted bug has to be found, and nothing else may be."""
    return int(violated != bool(plant))


if __name__ == "__main__":
    main()
