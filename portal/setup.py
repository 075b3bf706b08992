"""`headwater portal init`: everything a portal needs before its first start; running it again changes nothing."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path
from typing import Any

from domain.errors import ResourceUnavailable
from portal.config.environment import read_environment
from portal.core.files import write_private


def prepare_state_directory() -> None:
    """Make the state directory and the secret key. Runs before Django starts, because its settings read the key."""
    environment = read_environment(os.environ)
    try:
        environment.portal_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name in ("keys", "ca", "broker", "outbox"):
            (environment.portal_dir / name).mkdir(exist_ok=True, mode=0o700)
        if environment.secret_key is None:
            write_private(environment.portal_dir / "keys" / "secret_key", secrets.token_urlsafe(50).encode())
        if not environment.database.is_postgresql:
            _keep_from_others(Path(environment.database.name))
    except OSError as error:
        raise ResourceUnavailable(
            f"{error.filename or environment.portal_dir}: {error.strerror}; set HEADWATER_PORTAL_DIR "
            "(and DATABASE_URL) to a directory that can be written"
        ) from error


def _keep_from_others(database: Path) -> None:
    """Make the SQLite file so that only its owner may read it; take the rights of strangers off one that is there."""
    # SQLite takes an empty file for a new database, and gives its log the same mode.
    descriptor = os.open(database, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        with contextlib.suppress(PermissionError):  # somebody else's file, which we may write
            os.fchmod(descriptor, os.fstat(descriptor).st_mode & 0o770)
    finally:
        os.close(descriptor)


def initialise() -> dict[str, Any]:
    """Make keys, certificate authority and tables; return what `--json` prints."""
    from django.conf import settings
    from django.core.management import call_command

    from portal.access.second_steps import seal_second_steps
    from portal.config.assets import collect_assets
    from portal.core.models import ChangeCounter, UtilitySettings
    from portal.fleet.services import ensure_keys

    ensure_keys(Path(settings.PORTAL_DIR), broker_url=settings.BROKER_URL)
    call_command("migrate", interactive=False, verbosity=0)
    seal_second_steps()
    collect_assets(Path(settings.PORTAL_DIR) / "static")
    UtilitySettings.objects.get_or_create(pk=1)
    ChangeCounter.objects.get_or_create(pk=1)
    return {"portal_dir": str(settings.PORTAL_DIR)}
