"""A month of bills: how long a run takes on PostgreSQL with two processes, and what SIGKILL in the middle of one does.

`run` starts this module as a program of its own for each size. Accounts, meters and quarter-hourly reads are written
straight into their tables; everything after that is the product's own commands.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import time
from datetime import date
from typing import TYPE_CHECKING, Any

from tests.bench.city import City
from tests.bench.measure import rounded, say
from tests.bench.portals import new_portal, print_figures
from tests.postgres import PostgresMissing, throwaway_postgres

if TYPE_CHECKING:
    from pathlib import Path

SIZES, QUICK_SIZES = (4_100, 41_000), (150, 300)
JOBS = 2
FIRST_DAY, DAYS = date(2026, 8, 30), 66
ENDS = (date(2026, 10, 1), date(2026, 11, 1))
TARGET_S = 300.0


def run(folder: Path, *, quick: bool = False) -> dict[str, Any]:
    """Measure each size on a PostgreSQL of its own."""
    sizes = QUICK_SIZES if quick else SIZES
    found: dict[str, Any] = {
        "what": f"accounts with a meter read every 15 minutes, residential, water, sewer and sanitation; {JOBS} "
        "processes; calculation with validation of the reads, then issue with ledger, frozen facts and messages; the "
        "second month killed with SIGKILL in the middle and continued; ms an account are of the first month's run",
        "target_s": TARGET_S,
    }
    try:
        for size in sizes:
            found[f"accounts_{size}"] = _program(folder, size)
    except PostgresMissing as missing:
        return {**found, "postgresql": str(missing)}
    ratios = {}
    for name in ("calculation_ms_per_account", "calculation_cpu_ms_per_account"):
        small, large = (found[f"accounts_{size}"][name] for size in sizes)
        ratios[f"{name}_large_over_small"] = rounded(large / small)
    return {**found, **ratios}


def _program(folder: Path, accounts: int) -> dict[str, Any]:
    home = folder / str(accounts)
    home.mkdir(parents=True)
    with throwaway_postgres() as url:
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("HEADWATER_", "DJANGO_"))}
        environment |= {
            "DJANGO_SETTINGS_MODULE": "portal.config.settings",
            "DATABASE_URL": url,
            "HEADWATER_PORTAL_DIR": str(home),
            "HEADWATER_BROKER_URL": "mqtts://127.0.0.1:8883",
        }
        done = subprocess.run(
            [sys.executable, "-m", __name__, "--accounts", str(accounts)],
            env=environment, stdout=subprocess.PIPE, check=True, timeout=3600,
        )  # fmt: skip
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def measure(accounts: int) -> dict[str, Any]:
    """Return the figures of one size."""
    new_portal()
    from portal.billing.models import BillRun

    began = time.perf_counter()
    City(accounts, FIRST_DAY, DAYS).build()
    say(f"{accounts} accounts and {accounts * DAYS} days of reads in {time.perf_counter() - began:.0f} s")
    at_work = ("--jobs", str(JOBS), "--chunk", str(min(500, accounts // 10)))
    before = _cpu_s()
    calculated_s = _timed("run", "A", "--period-end", ENDS[0].isoformat(), *at_work)
    calculated_cpu_s = _cpu_s() - before
    run_id = BillRun.objects.get(period_end=ENDS[0]).public_id
    issued_s = _timed("issue", run_id, *at_work)
    say(f"first month: calculated in {calculated_s:.1f} s, issued in {issued_s:.1f} s")
    killed = _killed_in_the_middle(accounts, at_work)
    return {
        "accounts": accounts,
        "calculation_s": rounded(calculated_s),
        "calculation_ms_per_account": rounded(1000 * calculated_s / accounts),
        "calculation_cpu_ms_per_account": rounded(1000 * calculated_cpu_s / accounts),
        "load_average_1_min": os.getloadavg()[0],
        "issue_s": rounded(issued_s),
        "issue_ms_per_account": rounded(1000 * issued_s / accounts),
        "within_target": calculated_s <= TARGET_S,
        "killed": killed,
    }


def _cpu_s() -> float:
    """Return the processor time of our own finished processes, without the database server's."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "headwater", "portal", "bill", *arguments, "--json"]


def _timed(*arguments: str) -> float:
    began = time.perf_counter()
    subprocess.run(_command(*arguments), check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def _killed_in_the_middle(accounts: int, at_work: tuple[str, ...]) -> dict[str, Any]:
    """Calculate and issue the second month, kill everything at work in the middle of each, continue, count."""
    from django.db.models import Count, Sum

    from portal.billing.models import Bill, BillLine, BillRun
    from portal.ledger.models import JournalEntry, Posting

    kills = {}
    arguments = ("run", "A", "--period-end", ENDS[1].isoformat(), *at_work)
    kills["calculating"] = _kill_at(arguments, lambda: Bill.objects.filter(period_end=ENDS[1]).count(), accounts // 3)
    run_id = BillRun.objects.get(period_end=ENDS[1]).public_id
    _timed("continue", run_id, *at_work)
    issued = Bill.objects.filter(period_end=ENDS[1], state=Bill.State.ISSUED)
    kills["issuing"] = _kill_at(("issue", run_id, *at_work), issued.count, accounts // 3)
    _timed("continue", run_id, *at_work)
    _timed("issue", run_id)
    bills = Bill.objects.filter(period_end=ENDS[1])
    per_account = bills.values("account").annotate(n=Count("pk"))
    lines = BillLine.objects.filter(bill__in=bills).aggregate(cents=Sum("amount_cents"))["cents"]
    charges = bills.aggregate(cents=Sum("charges_cents"))["cents"]
    entries = JournalEntry.objects.filter(kind="bill", bills__in=bills)
    posted = Posting.objects.filter(entry__in=entries, amount_cents__gt=0).aggregate(cents=Sum("amount_cents"))["cents"]
    found = {
        "bills_when_killed": kills,
        "bills": bills.count(),
        "held": bills.filter(state=Bill.State.HELD).count(),
        "doubles": per_account.filter(n__gt=1).count(),
        "missing": accounts - per_account.count(),
        "entries": entries.count(),
        "lines_are_charges": lines == charges,
        "posted_are_charges": posted == charges,
    }
    found["right"] = (
        found["bills"] == accounts
        and found["entries"] == accounts - found["held"]
        and not found["doubles"]
        and found["lines_are_charges"]
        and (found["posted_are_charges"] or found["held"] > 0)
    )
    return found


def _kill_at(arguments: tuple[str, ...], done: Any, at: int) -> int:
    """Start a command and kill it and its workers as soon as so many bills are done; return how many were then."""
    process = subprocess.Popen(_command(*arguments), stdout=subprocess.DEVNULL, start_new_session=True)
    while process.poll() is None and done() < at:
        time.sleep(0.02)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    found: int = done()
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--accounts", type=int, required=True)
    print_figures(measure(parser.parse_args().accounts))
