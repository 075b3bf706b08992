"""The demo's billing: the pilot's rates, a cycle, an agreement for each account; the bills of the months before."""

from __future__ import annotations

import csv
import json
import time
from datetime import timedelta
from decimal import Decimal
from importlib import resources
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from domain.errors import ResourceUnavailable
from headwater.demo import street_files
from headwater.demo.history import first_of_month

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import date
    from pathlib import Path

    from headwater.demo.system import System

CYCLE = "01"
_ARRIVED_S = 120.0
_FEW = 200
"""What is on its way when the collectors only read: less than what was logged by far."""


def set_up(system: System) -> None:
    """Load and approve the rates, import cycle, accounts and agreements: by the commands that an office would use."""
    rates = resources.files("rates").joinpath("files/norman.yaml")
    with resources.as_file(rates) as file:
        loaded = json.loads(system.portal("rates", "load", str(file), "--as", street_files.STAFF_EMAIL, "--json"))
    system.portal("rates", "approve", str(loaded["id"]), "--as", street_files.SECOND_STAFF_EMAIL)
    _import(system, "cycles", ("code", "name", "read_day", "months"), [(CYCLE, "The street", 1, 1)])
    meters = system.street["meters"]
    since = _first_day(system)
    _import(
        system,
        "accounts",
        ("number", "name", "cycle", "route", "stop", "email", "language", "opened"),
        [
            (
                street_files.account_number(n),
                f"Resident {n}",
                CYCLE,
                "1",
                n,
                street_files.resident_email(n),
                "en",
                since,
            )
            for n, _ in enumerate(meters, start=1)
        ],
    )
    _import(
        system,
        "agreements",
        ("account", "address", "label", "class", "start", "dwelling_units"),
        [
            (street_files.account_number(n), meter["premise"], "water", "residential", since, 1)
            for n, meter in enumerate(meters, start=1)
        ],
    )


def bill_months(system: System) -> None:
    """Bill every full month that the meters logged, once its reads have arrived; all bills but the last are paid."""
    _wait_for_reads(system)
    today = _today(system)
    for months_ago in reversed(range(system.options.months)):
        end = first_of_month(today, months_ago=months_ago)
        system.portal("bill", "run", CYCLE, "--period-end", str(end), "--bill-date", str(end), "--issue")
        if months_ago:
            _pay(system, end)


def _pay(system: System, billed: date) -> None:
    """Let everybody pay what they owe by check, twelve days after it was billed."""
    owed = json.loads(system.portal("ledger", "aging", "--json"))["by_account"]
    _import(
        system,
        "payments",
        ("account", "amount", "method", "received", "reference"),
        [
            (row["account"], Decimal(row["balance_cents"]).scaleb(-2), "check", billed + timedelta(days=12), billed)
            for row in owed
            if row["balance_cents"] > 0
        ],
    )


def _wait_for_reads(system: System) -> None:
    """Wait until no collector holds back anything that was logged before it started."""
    deadline = time.monotonic() + _ARRIVED_S
    while True:
        waiting = [c.status().get("backlog", {}) for c in system.collectors]
        if all(backlog and backlog["unsent_items"] + backlog["unacked_items"] < _FEW for backlog in waiting):
            return
        if time.monotonic() > deadline:
            raise ResourceUnavailable(f"the logged reads did not reach the portal in {_ARRIVED_S:.0f} s: {waiting}")
        system.tend()
        time.sleep(0.2)


def _import(system: System, kind: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    path: Path = system.directory / f"{kind}.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        written = csv.writer(file)
        written.writerow(columns)
        written.writerows(rows)
    system.portal("import", kind, str(path), "--apply")


def _today(system: System) -> date:
    return system.clock.now().astimezone(ZoneInfo(street_files.ZONE)).date()


def _first_day(system: System) -> date:
    return first_of_month(_today(system), months_ago=system.options.months)
