"""Demos that a test runs in its own process start with today's tables; see `ready.py`."""

from __future__ import annotations

from pathlib import Path

import pytest

from headwater.demo.system import System
from tests.fleet.ready import with_tables


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give a demo, which is ten processes, the time that a busy machine takes for it."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.timeout(900))


@pytest.fixture(autouse=True)
def _tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(System, "portal", with_tables(System.portal))
