"""The portal's place: a state directory and a migrated database in memory, from which every seed takes a copy."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from headwater.simulate.keys import COLLECTORS, KEYS_EACH, fixed_key, portal_key
from headwater.simulate.world import START

_MEMORY = Path("/dev/shm")  # noqa: S108  a folder of our own is made in it


class Site:
    """One process's portal. Django is set up for it, so there is one in a process."""

    def __init__(self) -> None:
        where = _MEMORY if _MEMORY.is_dir() else None
        self.folder = Path(tempfile.mkdtemp(prefix="headwater-simulate-", dir=where))
        self.database = self.folder / "portal.sqlite3"
        self.template = self.folder / "template.sqlite3"
        self._set_up()
        self._fill()

    def _set_up(self) -> None:
        os.environ["HEADWATER_PORTAL_DIR"] = str(self.folder)
        os.environ["DATABASE_URL"] = f"sqlite:///{self.database}"
        os.environ["DJANGO_SETTINGS_MODULE"] = "portal.config.settings"
        import django
        from django.conf import settings

        # The portal's own disk is not what is tested here: its crashes fall between statements.
        settings.DATABASES["default"]["OPTIONS"]["init_command"] = "PRAGMA journal_mode=MEMORY; PRAGMA synchronous=OFF;"
        django.setup()

    def _fill(self) -> None:
        from django.core.management import call_command
        from django.db import connections

        from portal.core.files import write_private
        from portal.core.models import ChangeCounter, UtilitySettings
        from portal.fleet.models import Collector, CollectorKey

        (self.folder / "keys").mkdir()
        write_private(self.folder / "keys" / "portal_signing.pem", portal_key().pem())
        call_command("migrate", interactive=False, verbosity=0)
        UtilitySettings.objects.get_or_create(pk=1)
        ChangeCounter.objects.get_or_create(pk=1)
        for name in COLLECTORS:
            collector = Collector.objects.create(collector_id=name, enrolled_at=START)
            for number in range(KEYS_EACH):
                key = fixed_key(f"{name} {number}").verify_key
                CollectorKey.objects.create(
                    collector=collector, kid=key.key_id.hex(), alg=key.alg.name, public_key=key.public, valid_from=START
                )
        connections.close_all()
        self.database.replace(self.template)

    def move(self) -> None:
        """Take a database file of this process's own, after a fork."""
        from django.db import connections

        self.database = self.folder / f"portal-{os.getpid()}.sqlite3"
        connections.settings["default"]["NAME"] = str(self.database)

    def remove(self) -> None:
        """Remove every file."""
        shutil.rmtree(self.folder, ignore_errors=True)
