"""Demos that a test runs in its own process start with today's tables; see `ready.py`."""

from __future__ import annotations

import pytest

from headwater.demo.system import System
from tests.fleet.ready import with_tables


@pytest.fixture(autouse=True)
def _tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(System, "portal", with_tables(System.portal))
