"""The portal: production code of ingest and metering on a database that crashes, and that is put back from a backup."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import sqlite3
from collections import Counter
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.db import DatabaseError, connection, connections

from buffer.rows import to_us
from domain.reading import EventKind
from headwater.simulate.keys import portal_key
from headwater.simulate.world import SimulatedCrash
from portal.ingest import apply, holes
from portal.ingest.rebuild import rebuild
from portal.metering.folding import fold_closed_days
from portal.metering.models import DailyVolume, LeakCase, MeterEvent, MeterRegister, RecentRead, RegisterState
from portal.metering.reads import every_read
from portal.metering.reconcile import held_reads
from sync.signing import Command, sign_command
from sync.topics import ack_topic, command_topic, parse_batch_topic

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from headwater.simulate.broker import Broker
    from headwater.simulate.ledger import ItemKey, Ledger
    from headwater.simulate.portal_site import Site
    from headwater.simulate.world import World

Identity = tuple[bytes, int, int]
_COMMAND_LIFE = timedelta(hours=1)
_BATCHES = """SELECT epoch.epoch, batch.stream, batch.sequence, batch.batch_hash
    FROM metering_storedbatch batch JOIN metering_epoch epoch ON epoch.id = batch.epoch_id"""


class Portal:
    """One seed's portal. While `up` is False the broker keeps what is for it."""

    def __init__(self, world: World, site: Site, broker: Broker, ledger: Ledger) -> None:
        self.world, self.site, self.broker, self.ledger = world, site, broker, ledger
        self.up = True
        self.crash_in: int | None = None
        self.backups: list[Path] = []
        self._looking = False
        self.refusals: Counter[str] = Counter()
        shutil.copyfile(site.template, site.database)
        self._connect()

    def _connect(self) -> None:
        """Begin a process: a connection whose statements and commits may be the last thing it does."""
        with contextlib.suppress(AttributeError):
            del connections["default"]
        connection.execute_wrappers.append(self._execute)
        commit = connection.commit

        def commit_or_die() -> None:
            self._point("before commit")
            commit()
            self._point("after commit")

        connection.commit = commit_or_die  # type: ignore[method-assign]
        self._outside = sqlite3.connect(self.site.database, isolation_level=None)

    def close(self) -> None:
        """End the process."""
        raw = connection.connection
        if raw is not None:
            raw.close()
        with contextlib.suppress(AttributeError):
            del connections["default"]
        self._outside.close()

    def _execute(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        self._point("before a statement")
        return execute(sql, params, many, context)

    @contextlib.contextmanager
    def _unharmed(self) -> Iterator[None]:
        """Look at the database without dying of it."""
        self._looking = True
        try:
            yield
        finally:
            self._looking = False

    def _point(self, what: str) -> None:
        if self.crash_in is not None and not self._looking:
            self.crash_in -= 1
            if self.crash_in <= 0:
                self.crash_in = None
                raise SimulatedCrash(what)

    # Ingest

    def receive(self, topic: str, payload: bytes) -> bool:
        """Do with a message what a consumer does; returns whether the broker may forget it."""
        collector = parse_batch_topic(topic)
        try:
            answer = apply.apply_batch(payload, collector, self.world.true_time())
            self._point("before the ack")
            if answer is None or not answer.committed:
                self._note_refusal(payload)
            else:
                self._check_committed(payload)
            if answer is not None:
                self.broker.send_down(collector, ack_topic(collector), answer.signed)
            self._point("after the ack")
            if self.world.chance(0.15):
                self.ask()
        except SimulatedCrash as crash:
            self.crash(str(crash))
            return False
        except DatabaseError as error:
            self.world.note(f"portal: {error}")
            return False
        return True

    def _note_refusal(self, payload: bytes) -> None:
        row = self._outside.execute(
            "SELECT reason FROM metering_refusedbatch WHERE digest = ?", (hashlib.sha256(payload).digest(),)
        ).fetchone()
        reason = row[0] if row else "?"
        self.refusals[reason] += 1
        self.world.note(f"portal refuses {len(payload)} bytes: {reason}")

    def _check_committed(self, payload: bytes) -> None:
        """Look from outside, as a second connection sees it, whether what is acknowledged is committed."""
        digest = hashlib.sha256(payload).digest()
        row = self._outside.execute(f"{_BATCHES} WHERE batch.batch_hash = ?", (digest,)).fetchone()
        if row is None:
            raise self.world.fail(f"the portal acknowledges a batch that it has not committed: {digest.hex()[:16]}")
        identity = (row[0], row[1], row[2])
        fresh = identity not in self.ledger.at_portal
        self.ledger.note_committed(identity, digest)
        self.world.note(f"portal {'commits' if fresh else 'knows'} {_text(identity)}")

    def ask(self) -> None:
        """Ask collectors for what is missing, as the consumer does every few seconds."""
        now = self.world.true_time()
        for ask in holes.due_asks(now):
            body = {"epoch": ask.epoch.hex(), "stream": int(ask.stream), "first": ask.first, "last": ask.last}
            self.world.note(f"portal asks {ask.collector_id} for {body}")
            self._command(ask.collector_id, "resend", body)

    def read_now(self, collector: Any, meter: str) -> None:
        """Ask a collector to read a meter."""
        if self.up:
            self._command(collector, "read-now", {"meters": [meter]})

    def _command(self, collector: Any, kind: str, body: dict[str, Any]) -> None:
        now = self.world.true_time()
        command = Command(self.world.entropy(16), kind, now, now + _COMMAND_LIFE, body)
        signed = sign_command(command, collector=collector, key=portal_key())
        self.broker.send_down(collector, command_topic(collector), signed)

    def tick(self) -> None:
        """Do what is due without a batch."""
        if self.up:
            try:
                self.ask()
            except SimulatedCrash as crash:
                self.crash(str(crash))

    # Disasters

    def crash(self, why: str) -> None:
        """Die and come back: what was committed is there, all of it, and nothing else but the batch in hand."""
        self.world.note(f"portal dies: {why}")
        self.crash_in = None
        self.close()
        self._connect()
        held = self._held()
        for identity, digest in self.ledger.at_portal.items():
            if held.get(identity) != digest:
                raise self.world.fail(f"the portal forgot {_text(identity)}, which it had committed")
        for identity, digest in held.items():
            self.ledger.note_committed(identity, digest)
        self.broker.redeliver()

    def _held(self) -> dict[Identity, bytes]:
        return {(row[0], row[1], row[2]): row[3] for row in self._outside.execute(_BATCHES)}

    def backup(self) -> None:
        """Copy the database."""
        if not self.up:
            return
        copy = self.site.folder / f"{self.site.database.name}-backup-{len(self.backups)}"
        shutil.copyfile(self.site.database, copy)
        self.backups.append(copy)
        self.world.note("portal is backed up")

    def restore(self, at_collectors: set[ItemKey]) -> None:
        """Put the oldest backup back."""
        if not self.backups:
            return
        before = len(self.ledger.at_portal)
        self.close()
        shutil.copyfile(self.backups.pop(0), self.site.database)
        self._connect()
        gone = self.ledger.note_portal_restored(self._held(), at_collectors)
        lost = before - len(self.ledger.at_portal)
        self.world.note(f"portal is restored: {lost} batches missing, {gone} items are nowhere else")

    # What must hold

    def reads(self) -> Counter[ItemKey]:
        """Return every read that the portal holds, by what names it."""
        with self._unharmed():
            return Counter(
                (read["meter"], read["register"], to_us(datetime.fromisoformat(read["read_at"])), read["count"])
                for read in held_reads()
            )

    def events(self) -> dict[str, str]:
        """Return the kind of every event that the portal holds, by its id."""
        with self._unharmed():
            return dict(MeterEvent.objects.values_list("event_id", "kind"))

    def reported_gone(self) -> list[tuple[bytes, int, int, int]]:
        """Return (epoch, stream, first, last) of the batches that collectors said they no longer have."""
        details = MeterEvent.objects.filter(kind=EventKind.BATCHES_GONE.value).values_list("detail", flat=True)
        with self._unharmed():
            return [(bytes.fromhex(d["epoch"]), d["stream"], d["first"], d["last"]) for d in details]

    def reported_thinned(self) -> list[tuple[str, int, int, int]]:
        """Return (collector, first, last append_seq, how many reads) of what collectors thinned."""
        thinned = MeterEvent.objects.filter(kind=EventKind.READS_THINNED.value)
        rows = thinned.values_list("collector__collector_id", "detail")
        with self._unharmed():
            return [(name, d["first_seq"], d["last_seq"], d["reads"]) for name, d in rows]

    def fold(self, ahead: timedelta = timedelta(0)) -> None:
        """Fold the days that are over; no read may change by it."""
        before = self.reads()
        try:
            folded = fold_closed_days(self.world.true_time() + ahead, grace=timedelta(0))
        except SimulatedCrash as crash:
            self.crash(str(crash))
            folded = 0
        self.world.note(f"portal folds {folded} reads")
        if self.reads() != before:
            raise self.world.fail("folding changed the reads")

    def check_rebuild(self) -> None:
        """Compare what was made batch by batch with what a rebuild makes of the batches."""
        before = self._derived()
        batches = rebuild()
        fold_closed_days(self.world.true_time() + timedelta(days=3), grace=timedelta(0))
        after = self._derived()
        self.world.note(f"portal rebuilds {batches} batches")
        for name, rows in before.items():
            if rows != after[name]:
                different = sorted(rows ^ after[name])[:4]
                raise self.world.fail(f"a rebuild gives other {name} than ingest did: {different}")

    def _derived(self) -> dict[str, set[Any]]:
        states = RegisterState.objects.values_list("register", "last_read_at", "last_count", "last_quality")
        return {
            "reads": {*every_read()},
            "volumes": {*DailyVolume.objects.values_list("register", "day", "counts", "quality", "interpolated")},
            "states": {*states},
            "events": {*MeterEvent.objects.values_list("collector", "event_id", "kind", "at", "meter")},
            "leaks": {*LeakCase.objects.values_list("alarm_id", "opened_at", "cleared_at", "meter")},
        }

    def volumes(self) -> Iterator[tuple[str, int, int]]:
        """Yield (meter, counts of its folded days together, reads that are not folded)."""
        for row, meter in MeterRegister.objects.values_list("pk", "meter__meter_id"):
            counts = sum(DailyVolume.objects.filter(register=row).values_list("counts", flat=True))
            yield meter, counts, RecentRead.objects.filter(register=row).count()


def _text(identity: Identity) -> str:
    return f"{identity[0].hex()[:8]}/{identity[1]}/{identity[2]}"
