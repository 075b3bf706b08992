"""Fixtures that every package's tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real meter data beside the checkout; the test skips with one line where it is absent."""
    folder = Path(os.environ.get("HEADWATER_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    if not (folder / "meters").is_dir():
        pytest.skip(f"required-data: real meter data not found at {folder}; set HEADWATER_DATA")
    return folder
