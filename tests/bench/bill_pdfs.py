"""Bills as PDF: milliseconds for one, and how long a run of 41,000 takes two processes.

Plain facts, no database: what `headwater portal bill pdfs` adds is one query for 200 bills. Every bill differs from
every other, so that nothing is laid out twice; half of them are Spanish.

python -m tests.bench.bill_pdfs --bills 400
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from datetime import date
from typing import Any

RUN, TARGET_MIN, JOBS = 41_000, 20.0, 2


def run(*, bills: int = 400, jobs: int = JOBS) -> dict[str, Any]:
    """Return the figures of some bills with several processes, and what they mean for a whole run."""
    command = [sys.executable, "-m", "tests.bench.bill_pdfs", "--part", str(bills // jobs)]
    load_before = os.getloadavg()[0]
    began = time.monotonic()
    processes = [subprocess.Popen([*command, "--seed", str(n)], stdout=subprocess.PIPE, text=True) for n in range(jobs)]
    parts = [json.loads(process.communicate()[0]) for process in processes]
    took_s = time.monotonic() - began
    done = sum(part["bills"] for part in parts)
    wall_ms = max(part["wall_ms"] for part in parts)
    cpu_ms = sum(part["cpu_ms"] for part in parts) / jobs
    return {
        "what": "tagged PDF/UA-1 bills of two pages from frozen facts, each written to a file, started compilers",
        "bills": done,
        "jobs": jobs,
        "took_s": round(took_s, 1),
        "wall_ms_per_pdf": round(wall_ms, 1),
        "cpu_ms_per_pdf": round(cpu_ms, 1),
        "kib_per_pdf": round(sum(part["bytes"] for part in parts) / done / 1024, 1),
        "rss_mib": max(part["rss_mib"] for part in parts),
        "load_before": round(load_before, 1),
        "load_after": round(os.getloadavg()[0], 1),
        "extrapolated_min_for_41000": round(RUN * wall_ms / jobs / 60_000, 1),
        "extrapolated_cpu_min_for_41000": round(RUN * cpu_ms / jobs / 60_000, 1),
        "target_min": TARGET_MIN,
    }


def part(bills: int, seed: int) -> dict[str, Any]:
    """Render bills in this process, after one that warms the compiler up."""
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.config.settings")
    django.setup()
    from pathlib import Path

    from portal.billing.documents.facts import BillFacts
    from portal.billing.documents.files import write_pdf

    chance = random.Random(seed)
    frozen = [_facts(chance, n).as_json() for n in range(bills + 1)]
    size = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_pdf(BillFacts.from_json(frozen[0]), folder / "0.pdf")
        wall, cpu = time.monotonic(), time.process_time()
        for n, facts in enumerate(frozen[1:], start=1):
            write_pdf(BillFacts.from_json(facts), folder / f"{n}.pdf")
        wall, cpu = time.monotonic() - wall, time.process_time() - cpu
        size = sum((folder / f"{n}.pdf").stat().st_size for n in range(1, bills + 1))
    return {
        "bills": bills,
        "wall_ms": wall / bills * 1000,
        "cpu_ms": cpu / bills * 1000,
        "bytes": size,
        "rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def _facts(chance: random.Random, n: int) -> Any:
    from tests.portal.test_billing_documents import sample

    units = [chance.randrange(1_000, 30_000) for _ in range(13)]
    base = sample()
    periods = tuple(
        replace(period, units=used, estimated=chance.random() < 0.05)
        for period, used in zip(base.periods, units, strict=True)
    )
    cents = chance.randrange(3_000, 40_000)
    return replace(
        base,
        number=f"202606-{n:07d}",
        account_number=str(chance.randrange(10**6, 10**7)),
        name=f"Customer {n}",
        mail_to=(f"Customer {n}", f"{chance.randrange(1, 9999)} Elm Street", "Norman, OK 73069"),
        language=chance.choice(["en", "es"]),
        bill_date=date(2026, 6, 3),
        charges_cents=cents,
        due_cents=cents + base.balance_before_cents,
        lines=tuple(replace(line, amount_cents=chance.randrange(100, 9_999)) for line in base.lines) * 2,
        periods=periods,
    )


def main(arguments: list[str]) -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.bill_pdfs", description=__doc__)
    parser.add_argument("--bills", type=int, default=400)
    parser.add_argument("--jobs", type=int, default=JOBS)
    parser.add_argument("--part", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    figures = part(asked.part, asked.seed) if asked.part else run(bills=asked.bills, jobs=asked.jobs)
    json.dump(figures, sys.stdout, indent=None if asked.part else 2)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main(sys.argv[1:])
