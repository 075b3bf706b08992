"""Runs what tests/headwater/test_simulate.py looks at, in a process of its own: Django is set up for the simulation.

`python -m tests.headwater.simulated FOLDER SEEDS REPLAYED PLANT=SEEDS ...` prints one JSON object. The portal takes its
tables from a folder of pytest's; a replay from nothing must have the same trace.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from headwater.simulate import runner
from headwater.simulate.portal_site import Site
from tests.migrated import copy_tables


class SiteWithTables(Site):
    """A site whose migrations find today's tables."""

    tables: Path

    def _fill(self) -> None:
        shutil.copyfile(self.tables, self.database)
        super()._fill()


def main(folder: str, seeds: str, replayed: str, *plants: str) -> None:
    SiteWithTables.tables = Path(folder) / "tables.sqlite3"
    copy_tables(SiteWithTables.tables)
    runner.Site = SiteWithTables  # type: ignore[misc]
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
