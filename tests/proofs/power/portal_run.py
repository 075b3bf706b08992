"""The portal's recorded process: applies signed batches as the ingest process does, and says when an ack would leave.

    python -m tests.proofs.power.portal_run prepare LETTERS              makes the database and the batches
    python -m tests.proofs.power.portal_run apply LETTERS MARKS [normal] applies them (recorded)

DATABASE_URL and HEADWATER_PORTAL_DIR say where. The log is folded every 40 pages instead of every 1,000: the same code,
more often.
"""

from __future__ import annotations

import json
import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

from portal.setup import prepare_state_directory

BATCHES = 14


def prepare(letters: Path) -> None:
    """Make a portal with one collector, and the batches that the collector sends."""
    from django.conf import settings
    from django.core.management import call_command

    from domain.ids import Stream
    from domain.reading import EventKind
    from portal.fleet.services import ensure_keys
    from tests.portal.building import NOON, enrolled, event, read, total

    ensure_keys(Path(settings.PORTAL_DIR), broker_url="mqtts://127.0.0.1:8883")
    call_command("migrate", interactive=False, verbosity=0)
    box, made = enrolled(), []
    for n in range(BATCHES):
        at = NOON + timedelta(minutes=5 * n)
        meters = [f"EFE-{meter:08d}" for meter in range(1 + 3 * (n % 5))]
        reads = [read(total(meter), 100 * n + 7, at + timedelta(seconds=m)) for m, meter in enumerate(meters)]
        if n % 4 == 3:
            leak = event(EventKind.LEAK_OPENED, at, event_id=f"leak-{n}", meter=meters[0])
            batch = box.batch([], [leak], stream=Stream.URGENT)
        else:
            batch = box.batch(reads)
        seqs = [item.append_seq for item in batch.reads]
        made.append({"data": box.sign(batch).hex(), "reads": seqs, "events": len(batch.events)})
    letters.write_text(json.dumps({"collector": box.name, "batches": made}))


def apply(letters: Path, marks: Path, plant: str) -> None:
    """Apply every batch, some of them twice; a mark follows each answer."""
    from django.db import connection
    from django.db.backends.signals import connection_created

    from domain.ids import CollectorId
    from portal.ingest.apply import apply_batch
    from tests.portal.building import NOON

    def small_log(connection: Any, **_: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA wal_autocheckpoint=40")
            if plant == "normal":
                cursor.execute("PRAGMA synchronous=NORMAL")

    connection_created.connect(small_log)
    descriptor = os.open(marks, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    told = json.loads(letters.read_text())
    collector, at = CollectorId(told["collector"]), NOON + timedelta(hours=2)
    for n, letter in enumerate(told["batches"]):
        for _ in range(2 if n % 6 == 5 else 1):
            os.write(descriptor, json.dumps({"say": "applying", "batch": n}).encode() + b"\n")
            answer = apply_batch(bytes.fromhex(letter["data"]), collector, at)
            assert answer is not None
            assert answer.committed
            os.write(descriptor, json.dumps({"say": "acked", "batch": n}).encode() + b"\n")
        if n == BATCHES // 2:
            connection.close()
    connection.close()


if __name__ == "__main__":
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.config.settings")
    if sys.argv[1] == "prepare":
        prepare_state_directory()
    django.setup()
    if sys.argv[1] == "prepare":
        prepare(Path(sys.argv[2]))
    else:
        apply(Path(sys.argv[2]), Path(sys.argv[3]), "".join(sys.argv[4:5]))
