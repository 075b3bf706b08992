"""Fixtures of the portal's tests. DATABASE_URL decides the database: SQLite without it, PostgreSQL with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.utils import translation

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from pytest_django.fixtures import SettingsWrapper

    from tests.portal.histories import Lived


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


@pytest.fixture(autouse=True)
def _in_no_language() -> Iterator[None]:
    """Begin as a process begins, and leave it so: the last page that was asked for may have been in Spanish."""
    translation.deactivate()
    yield
    translation.deactivate()


@pytest.fixture
def half_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the half minute of an authenticator app's code last as long as the test."""
    from allauth.mfa.totp.internal import auth

    numbers = list(auth.yield_hotp_counters_from_time())
    monkeypatch.setattr(auth, "yield_hotp_counters_from_time", lambda: iter(numbers))


@pytest.fixture
def lived(monkeypatch: pytest.MonkeyPatch) -> Lived:
    """Write a drawn past of a home's meters down, see tests.portal.histories."""
    from tests.portal.histories import writing_down

    return writing_down(monkeypatch)


@pytest.fixture(autouse=True, scope="session")
def _least_work_for_a_password() -> Iterator[None]:
    """Argon2 as a portal has it, with the least work it takes: a quarter of a second less for every hash."""
    from django.contrib.auth.hashers import Argon2PasswordHasher

    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"time_cost": 1, "memory_cost": 64, "parallelism": 1}.items():
            patch.setattr(Argon2PasswordHasher, name, value)
        yield


@pytest.fixture(autouse=True, scope="session")
def _ledger_emptied_between_tests() -> Iterator[None]:
    """Let a test that commits be cleaned up: the triggers refuse even that. They come back by post_migrate."""
    from django.db.backends.base.operations import BaseDatabaseOperations

    from portal.ledger import triggers
    from portal.ledger.models import JournalEntry

    emptied = BaseDatabaseOperations.execute_sql_flush

    def execute_sql_flush(self: BaseDatabaseOperations, sql_list: Sequence[str]) -> None:
        if JournalEntry.objects.exists():
            triggers.remove(self.connection)
        emptied(self, sql_list)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BaseDatabaseOperations, "execute_sql_flush", execute_sql_flush)
        yield
