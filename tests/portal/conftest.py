"""Fixtures of the portal's tests. DATABASE_URL decides the database: SQLite without it, PostgreSQL with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_django.fixtures import SettingsWrapper


@pytest.fixture(scope="session")
def portal_keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state directory with keys and certificates, made once."""
    from portal.fleet.services import ensure_keys

    folder = tmp_path_factory.mktemp("portal")
    ensure_keys(folder, broker_url="mqtts://127.0.0.1:8883")
    return folder


@pytest.fixture(autouse=True)
def portal_dir(portal_keys: Path, settings: SettingsWrapper) -> Path:
    """The state directory that the settings name."""
    settings.PORTAL_DIR = portal_keys
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    return portal_keys
