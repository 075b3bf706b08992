"""One collector: store, commit window, clock, leak watch, memory and sender in production, on a simulated machine."""

from __future__ import annotations

import contextlib
import json
from concurrent.futures import Future
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from buffer.store import Store
from domain.errors import HeadwaterError
from domain.reading import Event, EventKind, ReadFlag, RegisterRead
from gateway.commands import Commands
from gateway.commit import READS_MAX, WINDOW_S, Committed, CommitWindow
from gateway.leak import LeakWatch
from gateway.memory import Memory
from gateway.timekeeping import CollectorClock
from headwater.simulate.disk import Disk
from headwater.simulate.ledger import key_of
from headwater.simulate.machine import MachineClock
from headwater.simulate.world import SimulatedCrash
from sync.outbound import UplinkPlan
from sync.resends import PAGE_BATCHES
from sync.sender import Sender

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from domain.ids import CollectorId
    from headwater.simulate.broker import Broker
    from headwater.simulate.disk import Life
    from headwater.simulate.faults import Profile
    from headwater.simulate.keys import CollectorKeys
    from headwater.simulate.ledger import ItemKey, Ledger
    from headwater.simulate.meters import Totaliser
    from headwater.simulate.world import World
    from sync.signing import Command

_SWEEP_EVERY_S = 1800.0
_MOST_AT_ONCE = 300


class Node:
    """A collector's machine. It has one life from each start to its crash; what belongs to an earlier one is void.

    incarnation  counts how often the whole disk was put back from a copy, its witness with it: only then may numbers
                 that were used before be used again, as nothing on the machine can know.
    images       counts how often any of it was put back: numbers that never left the machine are then given out again.
    """

    def __init__(
        self,
        world: World,
        profile: Profile,
        name: CollectorId,
        *,
        root: Path,
        lives: dict[str, Life],
        meters: Sequence[Totaliser],
        keys: CollectorKeys,
        broker: Broker,
        ledger: Ledger,
    ) -> None:
        self.world, self.profile, self.name, self.meters = world, profile, name, meters
        self.keys, self.broker, self.ledger = keys, broker, ledger
        self.disk = Disk(world, root, str(name), lives)
        self.hardware = MachineClock(world)
        self.boot_id = world.entropy(16)
        self.life, self.running, self.reading = 0, False, True
        self.incarnation = self.images = 0
        self.store: Store
        self.clock: CollectorClock
        self._stalled = False
        self._settled: set[bytes] = set()
        self.on_start: list[Callable[[], None]] = []
        self.on_publish: list[Callable[[], None]] = []

    # Life and death

    def within(self, action: Callable[[], None]) -> None:
        """Run production code on this machine; a crash inside ends this life and nothing else."""
        life = self.life
        with self.world.running(self):
            try:
                action()
            except SimulatedCrash as crash:
                if self.life == life:
                    self._die(str(crash))
            except Exception:
                if self.life == life:
                    raise  # else it met what its death left behind

    def later(self, delay_s: float, name: str, action: Callable[[], None]) -> None:
        """Have this life do something `delay_s` from now."""
        life = self.life

        def act() -> None:
            if self.life == life and self.running:
                self.within(action)

        self.world.after(delay_s, name, act)

    def sleep(self, seconds: float) -> None:
        """Wait in the middle of production code; raises SimulatedCrash when the machine dies meanwhile."""
        life, stalled = self.life, self._stalled
        self._stalled = True
        self.world.run_until(self.world.now_s + seconds)
        self._stalled = stalled
        if self.life != life:
            raise SimulatedCrash("while it waited")

    def kill(self, why: str) -> None:
        """End this life at once."""
        if self.running:
            self.disk.die(why)
            self._die(why)

    def _die(self, why: str) -> None:
        self.world.note(f"{self.name} dies: {why}")
        self.life += 1
        self.running = self._stalled = False
        with contextlib.suppress(SimulatedCrash, HeadwaterError, AttributeError):
            self.store.close()
        self.broker.links[self.name].session = 0
        self.world.after(self.world.rng.uniform(2.0, 400.0), "start", self.start)

    def stop(self) -> None:
        """End this life as a service does that is asked to."""
        if not self.running or self._stalled:
            return

        def leave() -> None:
            self.window.flush()
            self.leaks.snapshot(self.store.status().last_append_seq)
            self.store.close()
            self.world.note(f"{self.name} stops")
            self.life += 1
            self.running = False
            self.broker.links[self.name].session = 0

        self.within(leave)

    def power_cut(self) -> None:
        """Die, and forget what time it is."""
        self.kill("power cut")
        self.boot_id = self.world.entropy(16)
        self.hardware.boot(battery=False)

    def start(self) -> None:
        """Begin a life on whatever the disk holds."""
        if not self.running:
            self.disk.bury()
            self.within(self._start)
            if not self.running:
                self.world.after(20.0, "start", self.start)

    def _start(self) -> None:
        clock = CollectorClock(self.hardware, synchronised=lambda: self.hardware.synchronised)
        try:
            self.store = Store.open(
                self.disk.store,
                clock=clock,
                entropy=self.world.entropy,
                max_bytes=self.profile.bound_kib * 1024,
                connection=self.disk.life.connection,
            )
        except HeadwaterError as error:
            self.world.note(f"{self.name} cannot start: {error}")
            return
        self.clock = clock
        clock.keep_above(self.store.time_floor())
        self.store.before_thinning = lambda: self.leaks.snapshot(self.store.status().last_append_seq)
        self.memory = Memory.restore(self.store)
        self.leaks = LeakWatch.restore(self.store, clock=clock)
        self.window = CommitWindow(self._append, clock=clock, on_committed=self._on_committed)
        plan = UplinkPlan(
            seal_every_s=self.profile.seal_s, max_items=self.profile.max_items, window=self.profile.window
        )
        self.sender = Sender(
            self.store,
            collector=self.name,
            encode=self._encode,
            keys=self.keys.portal_key_of,
            clock=clock,
            plan=plan,
            on_command=self._on_command,
        )
        self.commands = Commands(
            read_now=self._read_now, resend=self.sender.resend, configure=_configure, report=self._report
        )
        self.running = True
        self.world.note(f"{self.name} starts: epoch {self.store.epoch.hex()[:8]}")
        self._settled = set()
        self._check_settled()
        while self.on_start:
            self.on_start.pop()()
        self.window.add((), [self._event(EventKind.STARTED)])
        self.later(WINDOW_S, "flush", self._flush)
        self.later(self.world.rng.uniform(0.5, 5.0), "round", self._round)
        self.later(1.0, "connect", self._connect)
        self.later(self._tick_s(), "tick", self._tick)
        self.later(_SWEEP_EVERY_S, "sweep", self._sweep)

    def _event(self, kind: EventKind) -> Event:
        event_id = f"{kind.value}-{self.world.entropy(8).hex()}"
        return Event(event_id, kind, self.clock.now(), self.clock.state(), None, {})

    # From meters to the store

    def _round(self) -> None:
        rng = self.world.rng
        if self.reading:
            self.later(self.profile.poll_s * rng.uniform(0.8, 1.2), "round", self._round)
        if self._stalled:
            return  # the bus waits for the disk
        for meter in self.meters:
            if self.profile.history and self.world.chance(self.profile.history):
                self.window.add([self._read(meter, ReadFlag.FROM_HISTORY)])
            flags = ReadFlag.ON_DEMAND if self.world.chance(0.02) else ReadFlag.NONE
            self.window.add([self._read(meter, flags)])
        if self.world.chance(0.7):
            self._flush()
        else:
            self.later(WINDOW_S, "flush", self._flush)

    def _read(self, meter: Totaliser, flags: ReadFlag) -> RegisterRead:
        ago_s = 0.0
        if flags & ReadFlag.FROM_HISTORY:
            ago_s = self.world.rng.randrange(min(7200, max(1, int(self.world.now_s))))
        wall = self.clock.now() - timedelta(seconds=ago_s)
        at = wall.replace(microsecond=wall.microsecond // 1000 * 1000)
        monotonic_ns = round(self.clock.monotonic() * 1e9)
        while True:
            state = self.clock.state(self.clock.settled_ns(at, monotonic_ns) if not ago_s else monotonic_ns)
            read = RegisterRead(meter.register, meter.count(self.world.now_s - ago_s), at, state, flags=flags)
            if key_of(read) not in self.ledger.truth:
                self.ledger.truth[key_of(read)] = meter.unrolled(self.world.now_s - ago_s)
                return read
            at += timedelta(milliseconds=1)
            monotonic_ns += 1_000_000

    def burst(self, rounds: int, every_s: float) -> None:
        """Read much and often: a store that is bound to little runs full and thins what is old when nobody takes it."""

        def read() -> None:
            for number in range(rounds):
                if self._stalled:
                    return
                self.window.add([self._read(meter, ReadFlag.NONE) for meter in self.meters])
                if number % 20 == 19:
                    self._flush()
                self.sleep(every_s)
            self._flush()

        if self.running:
            self.within(read)

    def finish(self, *, read: bool = True) -> None:
        """Read once more if asked to, and send what there is."""
        self.reading = False
        if self.running:
            if read:
                self.within(self._round)
            self.later(2 * WINDOW_S, "wake", self._wake)

    def _wake(self) -> None:
        self.sender.wake()
        self._pump()

    def _flush(self) -> None:
        if not self._stalled:
            self.window.flush()
            self._check_lists()
            self._pump()

    def _append(self, reads: Sequence[RegisterRead], events: Sequence[Event]) -> list[int | None]:
        items: list[ItemKey] = [*map(key_of, reads), *(event.event_id for event in events)]
        for item in items:
            self.ledger.perhaps[item] = self.name
        store = self.store
        sequences = store.append(reads, events)
        self.ledger.note_append(self.name, self.images, store.epoch, zip(items, sequences, strict=True))
        return sequences

    def _on_committed(self, what: Committed) -> None:
        """Follow a transaction as gateway.service does."""
        self.window.add((), self.leaks.feed(what.reads))
        try:
            if what.last_seq:
                self.leaks.maybe_snapshot(what.last_seq)
            self.memory.save(self.store)
        except HeadwaterError as error:
            self.world.note(f"{self.name}: no snapshot: {error}")

    # From the store to the broker

    def _encode(self, request: Any) -> bytes:
        data = self.keys.sending().encode(request)
        self.ledger.note_sealed(data, request)
        return data

    def _connect(self) -> None:
        link = self.broker.links[self.name]
        if not link.session and self.broker.connect(link):
            self.sender.connected(self.world.now_s)
            self._pump()
        if not link.session:
            self.later(self.world.rng.uniform(1.0, 30.0), "connect", self._connect)

    def lose_session(self) -> None:
        """Learn that the connection is gone."""
        if self.running:
            self.sender.disconnected()
            self.later(self.world.rng.uniform(1.0, 30.0), "connect", self._connect)

    def _tick_s(self) -> float:
        return min(90.0, max(15.0, self.profile.seal_s / 8))

    def _tick(self) -> None:
        self.later(self._tick_s(), "tick", self._tick)
        step = self.clock.check()
        if step is not None and not self._stalled:
            self.world.note(f"{self.name}: clock step {step.detail['step_ms']} ms")
            self.window.add((), [step])
            self._flush()
        else:
            self._pump()

    def _sweep(self) -> None:
        self.later(_SWEEP_EVERY_S, "sweep", self._sweep)
        with contextlib.suppress(HeadwaterError):
            self.store.sweep()

    def _pump(self) -> None:
        link = self.broker.links[self.name]
        for _ in range(_MOST_AT_ONCE):
            if not link.session:
                return
            outgoing = self.sender.due(self.world.now_s, room=self.world.now_s >= link.busy_until_s)
            if outgoing is None:
                break
            self._check_published(outgoing.batch_id, outgoing.payload)
            self.world.note(f"{self.name} publishes {outgoing.batch_id} {len(outgoing.payload)} bytes")
            self.broker.send_up(link, outgoing.topic, outgoing.payload)
            self.sender.sent(outgoing, self.world.now_s)
            while self.on_publish:
                self.on_publish.pop()()
            self._check_settled()
        else:
            raise self.world.fail(f"{self.name}: more than {_MOST_AT_ONCE} batches at once are due")
        if self.world.now_s < link.busy_until_s:
            self.later(link.busy_until_s - self.world.now_s, "pump", self._pump)

    def receive(self, topic: str, payload: bytes) -> None:
        """Take an ack or a command."""

        def take() -> None:
            self.sender.take(topic, payload, self.world.now_s)
            self._check_settled()
            self._pump()

        if self.running:
            self.within(take)

    def _on_command(self, command: Command) -> None:
        self.world.note(f"{self.name}: command {command.kind}")
        self.commands.carry_out(command)

    def _read_now(self, name: str) -> Future[Any] | None:
        meter = next((meter for meter in self.meters if meter.register.meter_id == name), None)
        if meter is None:
            return None
        future: Future[Any] = Future()

        def answer() -> None:
            if not self._stalled:
                self.window.add([self._read(meter, ReadFlag.ON_DEMAND)])
                future.set_result(None)
                self._flush()

        self.later(2.0, "read now", answer)
        return future

    def _report(self, kind: EventKind, event_id: str, detail: Mapping[str, str | int]) -> None:
        def add() -> None:
            if self._stalled:
                self.later(1.0, "report", add)
            else:
                self.window.add((), [Event(event_id, kind, self.clock.now(), self.clock.state(), None, dict(detail))])
                self.later(WINDOW_S, "flush", self._flush)

        self.later(0.0, "report", add)

    # What must hold at every step

    @property
    def database(self) -> Any:
        """The store's connection, asked directly."""
        return self.disk.life.connections[-1]

    def _check_published(self, batch_id: Any, data: bytes) -> None:
        # A resend may come from memory after an acknowledged batch made room on a full disk.
        if (self.incarnation, batch_id) not in self.ledger.published and not self.database.execute(
            "SELECT 1 FROM batch_bytes WHERE data = ?", (data,)
        ).fetchone():
            raise self.world.fail(f"{self.name}: {batch_id} is published before its bytes are committed")
        self.ledger.note_published(self.incarnation, batch_id, data)

    def _check_settled(self) -> None:
        rows = self.database.execute("SELECT hash FROM batch WHERE state = 1").fetchall()
        for (digest,) in rows:
            if digest not in self._settled:
                self.ledger.check_settled(self.name, digest)
                self._settled.add(digest)

    def _check_lists(self) -> None:
        waiting = len(self.window._reads) + len(self.window._events)
        if waiting > READS_MAX:
            raise self.world.fail(f"{self.name}: {waiting} reads wait in memory")
        if self.sender.in_flight > 3 * self.profile.window + PAGE_BATCHES:
            raise self.world.fail(f"{self.name}: {self.sender.in_flight} batches on their way")

    def holdings(self, *, sendable: bool = False) -> set[ItemKey]:
        """Return every item that the store has, as a row or inside a batch; see `holdings`."""
        return holdings(self.database, self.ledger, sendable=sendable)


def _configure(text: str, nonce: str, try_s: int, done: Callable[[str], None]) -> None:
    done("not simulated")


_READS = """SELECT meter_id, register_id, read_at_us, raw_count
    FROM read JOIN register ON register.ref = read.register"""


def holdings(database: Any, ledger: Ledger, *, sendable: bool = False) -> set[ItemKey]:
    """Return every item of a store, as a row or inside a batch.

    sendable  leaves out rows that are only kept for the technician's page: the batch that carried them is gone.
    """
    held: set[ItemKey] = set()
    for (digest,) in database.execute("SELECT hash FROM batch WHERE state < 3"):
        held.update(ledger.contents.get(digest, ()))
    for stream, through in database.execute("SELECT stream, sealed_through FROM stream").fetchall():
        after = (through if sendable else 0, stream)
        held.update(database.execute(f"{_READS} WHERE append_seq > ? AND (flags & 16) / 16 = ?", after))
        of_stream = database.execute("SELECT event_id FROM event WHERE append_seq > ? AND urgent = ?", after)
        held.update(row[0] for row in of_stream)
    return held


def thinned(database: Any, ledger: Ledger, name: str) -> set[ItemKey]:
    """Return the items of a collector that lie in what its store reports as thinned, those that stayed among them."""
    details = database.execute("SELECT detail FROM event WHERE kind = 'reads-thinned'").fetchall()
    spans = [(detail["first_seq"], detail["last_seq"]) for detail in (json.loads(text) for (text,) in details)]
    return {
        item
        for (collector, _, _, seq), item in ledger.places.items()
        if collector == name and any(first <= seq <= last for first, last in spans)
    }
