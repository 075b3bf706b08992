"""From logged months to issued bills: the demo's own office work, end to end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from headwater.demo.system import Options, System

pytestmark = pytest.mark.xdist_group("demo")


def test_the_months_before_are_billed_from_signed_reads(tmp_path: Path) -> None:
    """Every account has its bill of the month; dials, chart, journal and signed batches agree with it."""
    system = System(Options(directory=tmp_path, meters=4, collectors=1, months=1, street_arguments=("--tcp-only",)))
    try:
        system.start(lambda text: None)
        report = json.loads(system.portal("bill", "report", "01", "--json"))
        reconciled = json.loads(system.portal("reconcile-bills", "--json"))
        audited = json.loads(system.portal("ledger", "audit", "--json"))
    finally:
        system.stop()
    assert report["issued"] == 4
    assert reconciled["differences"] == []
    assert audited["differences"] == []
