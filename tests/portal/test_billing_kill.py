"""A bill run is killed at any moment and goes on: no bill twice, none missing, nothing posted twice."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.portal.processes import Portal

if TYPE_CHECKING:
    from pathlib import Path

ACCOUNTS = 40
SEED = 20260601

_MAKE = """
from datetime import date
from tests.portal import billed
billed.rate_book()
for number in range({accounts}):
    home = billed.home(number, date(2026, 5, 1))
    billed.reads(home.register, billed.steady(date(2026, 5, 1), date(2026, 6, 2), 200 + number))
"""
_COUNT = """
import json
from django.db.models import Count, Sum
from portal.billing.models import Bill, BillLine
from portal.ledger.models import JournalEntry, Posting
bills = Bill.objects.all()
print(json.dumps({
    "bills": bills.count(),
    "accounts": bills.values("account").distinct().count(),
    "issued": bills.filter(state="issued").count(),
    "lines": BillLine.objects.aggregate(cents=Sum("amount_cents"))["cents"],
    "charges": bills.aggregate(cents=Sum("charges_cents"))["cents"],
    "entries": JournalEntry.objects.filter(kind="bill").count(),
    "owed": Posting.objects.filter(ledger_account__code="1200").aggregate(cents=Sum("amount_cents"))["cents"],
    "numbers": bills.values("number").distinct().count(),
}))
"""


@pytest.fixture
def portal(tmp_path: Path) -> Portal:
    """A portal of its own, with accounts that have a month of reads."""
    found = Portal(tmp_path)
    _shell(found, _MAKE.format(accounts=ACCOUNTS))
    return found


def _environment(portal: Portal) -> dict[str, str]:
    return {**portal.environment, "PYTHONPATH": os.pathsep.join(sys.path)}


def _program(portal: Portal, *arguments: str) -> str:
    command = [sys.executable, "-m", "headwater", *arguments]
    done = subprocess.run(command, env=_environment(portal), check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout


def _shell(portal: Portal, code: str) -> str:
    ready = "import django\ndjango.setup()\n"
    environment = _environment(portal) | {"DJANGO_SETTINGS_MODULE": "portal.config.settings"}
    command = [sys.executable, "-c", ready + code]
    return subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout


def _counted(portal: Portal) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(_shell(portal, _COUNT))
    return found


_KILLED = """
import os, signal, sys
from django.db import connection
from portal.billing import runs
from portal.billing.models import BillRun, Cycle
from datetime import date
left = {after}

def count(execute, sql, params, many, context):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return execute(sql, params, many, context)

with connection.execute_wrapper(count):
    run = runs.start_run(Cycle.objects.get(), date(2026, 6, 1), bill_date=date(2026, 6, 1))
    runs.continue_run(run, chunk=13)
    runs.issue_run(run, chunk=13)
"""


def _killed(portal: Portal, after: int) -> int:
    """Run in a process that is killed before its statement number `after` + 1; return its exit code."""
    environment = _environment(portal) | {"DJANGO_SETTINGS_MODULE": "portal.config.settings"}
    code = "import django\ndjango.setup()\n" + _KILLED.format(after=after)
    return subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode


def test_killed_at_random_statements_it_bills_everybody_once(portal: Portal) -> None:
    rng = random.Random(SEED)
    places = [rng.randrange(5, 60), rng.randrange(60, 160)]
    codes = [_killed(portal, after) for after in places]
    print(f"seed {SEED}: killed before statements {places}")
    assert codes[0] == -signal.SIGKILL
    run = json.loads(_program(portal, "portal", "bill", "run", "A", "--period-end", "2026-06-01", "--chunk", "13",
                              "--jobs", "2", "--json"))  # fmt: skip
    assert run["accounts"] == ACCOUNTS
    _program(portal, "portal", "bill", "issue", run["run"], "--chunk", "7", "--jobs", "2")
    found = _counted(portal)
    assert found["bills"] == found["accounts"] == found["issued"] == found["entries"] == found["numbers"] == ACCOUNTS
    assert found["lines"] == found["charges"] == found["owed"]
