"""The portal's side of the proof: what it acknowledged is in its SQLite database, whole and once, after any cut."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from tests.proofs.power.calls import record
from tests.proofs.power.checking import Found, need
from tests.proofs.power.scenes import Recording

PORTAL = "portal"
_DATABASE = "portal.sqlite3"
_PROGRAM = ["-m", "tests.proofs.power.portal_run"]
_APPLIED = "SELECT signed, reads, events FROM metering_storedbatch"


@dataclass(slots=True)
class PortalPromises:
    """Batches whose ack has left, and the one that is being applied."""

    letters: tuple[dict[str, Any], ...]
    collector: str
    acked: set[int] = field(default_factory=set)
    doing: int | None = None
    marks: int = 0

    def copy(self) -> PortalPromises:
        """Return a copy to fold marks into."""
        return replace(self, acked=set(self.acked))

    def take(self, mark: dict[str, Any]) -> None:
        """Take the next mark."""
        self.marks += 1
        self.doing = mark["batch"] if mark["say"] == "applying" else None
        if mark["say"] == "acked":
            self.acked.add(mark["batch"])


@dataclass(frozen=True)
class PortalRecording(Recording):
    """A run of the portal's ingest. portal_dir = its state directory, which the recorded folder does not hold."""

    portal_dir: Path = Path()

    def check(self, root: Path, promises: Any, found: Found) -> None:
        """Open the database of one state and check it; raises Violation."""
        path = root / _DATABASE
        _check_tables(path, promises)
        # The collector sends again whatever it has no ack for, and now and then what it has one for.
        again = sorted({*promises.acked, *([] if promises.doing is None else [promises.doing])})[-2:]
        _apply_again(path, self.portal_dir, promises, again)
        promises = replace(promises, acked=promises.acked | set(again))
        _check_tables(path, promises)


def make(work: Path, *, plant: str = "") -> PortalRecording:
    """Make a portal and batches, record how it applies them, and return what is known of that."""
    root, letters, portal_dir = work / "portal-disk", work / "letters", work / "portal-state"
    root.mkdir()
    environment = {"HEADWATER_PORTAL_DIR": str(portal_dir), "DATABASE_URL": f"sqlite:///{root / _DATABASE}"}
    os.environ.update(environment)
    prepare = [sys.executable, *_PROGRAM, "prepare", str(letters)]
    done = subprocess.run(prepare, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    initial: dict[str, bytes | None] = {_DATABASE: (root / _DATABASE).read_bytes()}
    told = json.loads(letters.read_text())
    promises = PortalPromises(tuple(told["batches"]), told["collector"])
    calls = record([*_PROGRAM, "apply", str(letters), str(work / "marks"), plant], root, work / "marks", work / "log")
    (work / "log").unlink()
    return PortalRecording(PORTAL, initial, calls, promises, portal_dir=portal_dir)  # type: ignore[arg-type]


def _check_tables(path: Path, promises: PortalPromises) -> None:
    """Check that exactly the acknowledged batches are there (one under way perhaps), and their reads, each once."""
    sent = {bytes.fromhex(letter["data"]): number for number, letter in enumerate(promises.letters)}
    with contextlib.closing(sqlite3.connect(path)) as db:
        try:
            db.execute("PRAGMA journal_mode=WAL")
            sound = db.execute("PRAGMA quick_check(1)").fetchone()[0]
            stored = [bytes(row[0]) for row in db.execute(_APPLIED)]
            reads = Counter(row[0] for row in db.execute("SELECT append_seq FROM metering_recentread"))
            events = db.execute("SELECT COUNT(*) FROM metering_meterevent").fetchone()[0]
        except sqlite3.Error as error:
            need(False, f"the portal's database does not open: {error}")
    need(sound == "ok", f"the portal's database is damaged: {sound}")
    need(set(stored) <= set(sent), "a stored batch has bytes that nobody sent")
    numbers = [sent[data] for data in stored]
    need(len(numbers) == len(set(numbers)), "a batch is stored twice")
    missing = promises.acked - set(numbers)
    need(not missing, f"acknowledged batches {sorted(missing)} are gone")
    extra = set(numbers) - promises.acked
    need(extra <= {promises.doing}, f"batches {sorted(extra)} are stored and were not being applied")
    expected = Counter(seq for number in numbers for seq in promises.letters[number]["reads"])
    need(reads == expected, f"reads and stored batches disagree: {(expected - reads) or (reads - expected)}")
    told = sum(promises.letters[number]["events"] for number in numbers)
    need(events == told, f"{events} events are stored, {told} were in the batches")


def _apply_again(path: Path, portal_dir: Path, promises: PortalPromises, numbers: list[int]) -> None:
    """Let the production code take batches over the state that the cut left."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.config.settings")
    import django
    from django.apps import apps

    if not apps.ready:
        django.setup()
    from django.conf import settings
    from django.db import connection

    from domain.ids import CollectorId
    from portal.ingest.apply import apply_batch
    from tests.portal.building import NOON

    settings.PORTAL_DIR = portal_dir
    connection.close()
    connection.settings_dict["NAME"] = str(path)
    try:
        for number in numbers:
            data = bytes.fromhex(promises.letters[number]["data"])
            answer = apply_batch(data, CollectorId(promises.collector), NOON + timedelta(hours=3))
            need(answer is not None and answer.committed, f"batch {number}, sent again, is not acknowledged")
    finally:
        connection.close()
