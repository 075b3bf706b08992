"""The figures and the worked morning of docs/algorithms/alerts.md are what the program does."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest

from portal.alerts import kinds, silence, telling, unusual, usage_rules
from portal.alerts.evaluation import look_at_usage
from portal.alerts.models import Alert
from portal.alerts.preferences import Scope, add_threshold
from tests.portal.alerting import HOUR, WEDNESDAY, account_of, let_flow, lived_in, reader, run_hours

TEXT = (Path(__file__).parents[2] / "docs/algorithms/alerts.md").read_text(encoding="utf-8")
PROGRAM = {"kinds": kinds, "silence": silence, "telling": telling, "unusual": unusual, "usage_rules": usage_rules}


def test_every_figure_is_the_programs() -> None:
    rows = re.findall(r"^\| .* \| (\d+) \| `([^`]+)` \|$", TEXT, re.MULTILINE)
    assert len(rows) == 13
    for value, name in rows:
        assert eval(name, {**PROGRAM}) == int(value), name  # noqa: S307


def test_every_kind_is_described() -> None:
    table = TEXT.partition("## The kinds")[2].partition("## The figures")[0]
    for kind in kinds.Kind:
        (row,) = [line for line in table.splitlines() if line.startswith(f"| {kind.label} |")]
        said = row.split("|")[3].strip()
        assert said == (
            "each limit is added" if kind == kinds.Kind.THRESHOLD else "on" if kinds.RULES[kind].on else "off"
        )


@pytest.mark.django_db
def test_the_worked_morning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("portal.alerts.preferences.now", lambda: WEDNESDAY)
    home = lived_in(ana := reader())
    scope = Scope(ana, account_of(home), home.service_point)
    add_threshold(scope, per="hour", amount="500", unit="gal", by_email=True, by_sms=False)
    look_at_usage(WEDNESDAY)
    rows = re.findall(r"^\| (\d\d):(\d\d) \| (\d+) \| (\S+) \|$", TEXT, re.MULTILINE)
    assert len(rows) == 8
    known = 0
    for hour, minute, litres, told in rows:
        at = WEDNESDAY + int(hour) * HOUR + timedelta(minutes=int(minute))
        if home.at == WEDNESDAY:
            run_hours(home, 9, int(litres) // 9)
        else:
            let_flow(home, int(litres), minutes=(at - home.at) // timedelta(minutes=1))
        assert home.at == at
        look_at_usage(at)
        found = [alert.kind for alert in Alert.objects.order_by("pk")[known:]]
        assert found == ([] if told == "–" else [told]), at
        known += len(found)
