"""Runs what tests/headwater/test_simulate.py looks at, in a process of its own: Django is set up for the simulation.

`python -m tests.headwater.simulated SEEDS REPLAYED PLANT=SEEDS ...` prints one JSON object.
"""

from __future__ import annotations

import json
import sys

from headwater.simulate import runner


def main(seeds: str, replayed: str, *plants: str) -> None:
    site = runner.prepare()
    try:
        results = [runner.run_one(seed)[0] for seed in runner.parse_seeds(seeds)]
        found = {}
        for plant, where in (text.split("=") for text in plants):
            tried = (runner.run_one(seed, plant)[0] for seed in runner.parse_seeds(where))
            found[plant] = next((result.violation for result in tried if result.violation), "")
        print(
            json.dumps(
                {
                    "seeds": [result.as_json() for result in results],
                    "traces": [runner.run_one(int(replayed))[0].trace for _ in range(2)],
                    "found": found,
                    "faults": sorted({fault for result in results for fault in result.faults}),
                }
            )
        )
    finally:
        site.remove()


if __name__ == "__main__":
    main(*sys.argv[1:])
