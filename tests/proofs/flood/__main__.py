"""One collector floods: do the others wait longer?  python -m tests.proofs.flood [--json] [--broker NAME] [--seconds S]

PostgreSQL, a broker and two ingest workers as processes; ten collectors at a steady pace, half of them served by the
worker that serves the flooder too. Exit 1 when a median is above twice its normal time, or a batch got no ack.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

from tests.broker import mosquitto
from tests.postgres import PostgresMissing, throwaway_postgres
from tests.proofs.flood.flooder import KINDS
from tests.proofs.flood.proof import GOAL, run, street


def main() -> int:
    """Measure, print, tell by the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.proofs.flood", description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--broker", choices=["mosquitto", "nats"], default="mosquitto" if mosquitto() else "nats")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement; there are six")
    parser.add_argument("--kind", action="append", choices=KINDS, help="only this kind of flood; may be repeated")
    parser.add_argument("--flood-per-s", type=float, default=1000.0, help="0: as fast as the broker takes them")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="leave the logs here")
    options = parser.parse_args()
    print(f"seed {options.seed}", file=sys.stderr)
    try:
        with throwaway_postgres() as url, tempfile.TemporaryDirectory(prefix="headwater-flood-") as temporary:
            os.environ["DATABASE_URL"] = url
            folder = (options.keep or Path(temporary)).absolute()
            folder.mkdir(parents=True, exist_ok=True)
            with street(folder, broker=options.broker, seed=options.seed, flood_per_s=options.flood_per_s) as made:
                figures = run(made, seconds=options.seconds, kinds=tuple(options.kind or KINDS))
    except PostgresMissing as missing:
        print(f"skipped 1: {missing}")
        return 1 if "postgres" in os.environ.get("HEADWATER_REQUIRE", "").split(",") else 0
    figures = {"broker": options.broker, "seed": options.seed, **figures}
    if options.json:
        print(json.dumps(figures))
    else:
        _print(figures)
    return 1 if figures["worst"] > GOAL or figures["lost"] else 0


def _print(figures: dict[str, object]) -> None:
    rows = figures["floods"]
    assert isinstance(rows, list)
    print("milliseconds from publication to signed ack          median                    95 %")
    print("flood        messages/s  worker      batches  normal  flood  ratio   normal  flood  ratio")
    for row in rows:
        for where in ("same_worker", "other_worker"):
            at = row[where]
            print(
                f"{row['flood']:<12}{row['flood_per_s']:>11}  {where.removesuffix('_worker'):<10}{at['batches']:>9}"
                f"{at['median_ms']:>8}{at['median_flooded_ms']:>7}{at['median_ratio']:>7}"
                f"{at['p95_ms']:>9}{at['p95_flooded_ms']:>7}{at['p95_ratio']:>7}"
            )
    print(f"worst median ratio {figures['worst']} (goal: at most {figures['goal']}); without an ack: {figures['lost']}")


if __name__ == "__main__":
    sys.exit(main())
