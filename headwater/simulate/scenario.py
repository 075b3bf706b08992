"""One seed from beginning to end: faults while it runs, then peace, then everything has to be where it belongs."""

from __future__ import annotations

import contextlib
import gc
import shutil
import sqlite3
import traceback
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from domain.usage import CountPoint, unrolled
from headwater.simulate import collector
from headwater.simulate.broker import Broker, Link
from headwater.simulate.disk import STORE, Life, copy_folder, simulated_files
from headwater.simulate.disturbances import Disturbances
from headwater.simulate.faults import draw_profile, draw_schedule
from headwater.simulate.keys import COLLECTORS, CollectorKeys
from headwater.simulate.ledger import Ledger
from headwater.simulate.machine import simulated_machine
from headwater.simulate.meters import MODULUS, Totaliser
from headwater.simulate.portal import Portal
from headwater.simulate.world import Violation, World
from portal.metering.reads import from_us

if TYPE_CHECKING:
    from headwater.simulate.ledger import ItemKey
    from headwater.simulate.portal_site import Site

DRAIN_MOST_S = 8 * 3600.0
"""How long after the last fault everything may take to arrive: the portal's longest pause between questions is 1 h."""
_LOOK_EVERY_S = 60.0
_OF_THE_STORE = ("store-salvaged:", "reads-thinned:", "batch-rejected:", "disk-pressure")
"""Events that the store writes by itself."""
_PORTAL_TICK_S = 500.0


@dataclass(slots=True)
class Result:
    """What became of one seed. `trace` is what happened, line by line; `violation` is empty when all held."""

    seed: int
    violation: str = ""
    step: int = 0
    reads: int = 0
    batches: int = 0
    destroyed: int = 0
    thinned: int = 0
    drained_s: float = 0.0
    faults: list[str] = field(default_factory=list)
    trace: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Return what `--json` prints of a seed."""
        names = ("seed", "violation", "step", "reads", "batches", "destroyed", "thinned")
        return {name: getattr(self, name) for name in names}


class Scenario:
    """One seed's world with everything in it."""

    def __init__(self, seed: int, site: Site) -> None:
        self.world = World(seed)
        rng = self.world.rng
        self.profile = draw_profile(rng)
        self.schedule = draw_schedule(rng, self.profile)
        self.world.note(f"seed {seed}: {self.profile}")
        self.root = site.database.with_name(f"{site.database.name}-disks")
        shutil.rmtree(self.root, ignore_errors=True)
        self.root.mkdir()
        self.lives: dict[str, Life] = {}
        self.ledger = Ledger(self.world)
        self.broker = Broker(self.world, self.profile)
        self.portal = Portal(self.world, site, self.broker, self.ledger)
        self.broker.ingest = self.portal
        self.nodes = [self._node(number) for number in range(self.profile.collectors)]
        self.disturbances = Disturbances(self)
        self.drained_s = 0.0

    def _node(self, number: int) -> collector.Node:
        name = COLLECTORS[number]
        meters = [Totaliser(f"SIM-{number}{index:03d}", self.world.rng) for index in range(self.profile.meters)]
        node = collector.Node(
            self.world,
            self.profile,
            name,
            root=self.root,
            lives=self.lives,
            meters=meters,
            keys=CollectorKeys(name),
            broker=self.broker,
            ledger=self.ledger,
        )
        self.broker.links[name] = Link(node)
        return node

    # The run

    def run(self) -> Result:
        """Run the seed; a violation is in the result, whatever raised it."""
        result = Result(self.world.seed)
        try:
            with simulated_machine(self.world), simulated_files(self.lives):
                self._live()
                self._drain()
                self._check_end()
        except Violation as violation:
            result.violation, result.step = violation.message, violation.step
        except Exception as error:  # whatever it is, nobody foresaw it, and the seed is what finds it again
            result.violation, result.step = f"unexpected {type(error).__name__}: {error}", self.world.steps
            self.world.trace += traceback.format_exc().splitlines()
        finally:
            self.close()
        result.reads, result.batches = len(self.ledger.appended), len(self.ledger.committed)
        result.destroyed, result.drained_s = len(self.ledger.destroyed), self.drained_s
        result.thinned = self.ledger.thinned
        result.faults, result.trace = [fault for _, fault, _ in self.schedule], self.world.trace
        return result

    def close(self) -> None:
        """Let go of files and connections."""
        for node in self.nodes:
            with contextlib.suppress(Exception, BaseException):
                node.store.close()
        for life in self.lives.values():
            for connection in life.connections:
                with contextlib.suppress(sqlite3.Error):
                    connection.close()
        self.portal.close()
        shutil.rmtree(self.root, ignore_errors=True)
        for backup in self.portal.backups:
            backup.unlink(missing_ok=True)

    def _live(self) -> None:
        world = self.world
        for node in self.nodes:
            node.hardware.boot(battery=True)
            world.after(world.rng.uniform(0.0, 30.0), "start", node.start)
        self.disturbances.prepare(self.schedule)
        world.after(_PORTAL_TICK_S, "ask", self._portal_tick)
        world.run_until(self.profile.hours * 3600)

    def _portal_tick(self) -> None:
        self.world.after(_PORTAL_TICK_S, "ask", self._portal_tick)
        self.portal.tick()
        if self.world.chance(0.02):
            node = self.world.rng.choice(self.nodes)
            self.portal.read_now(node.name, self.world.rng.choice(node.meters).register.meter_id)

    def _drain(self) -> None:
        """End every fault, read twice more, and wait until nothing is on its way any more."""
        world = self.world
        self.disturbances.heal()
        began_s = world.now_s
        world.note("peace")
        for node in self.nodes:
            node.start()
        for _ in range(2):
            world.run_until(world.now_s + _LOOK_EVERY_S)
            for node in self.nodes:
                node.finish()
        while (left := self._left()) and world.now_s < began_s + DRAIN_MOST_S:
            for node in self.nodes:
                node.finish(read=False)
            world.run_until(world.now_s + _LOOK_EVERY_S)
            self.portal.tick()
        self.drained_s = world.now_s - began_s
        if left:
            raise world.fail(f"after {self.drained_s:.0f} s of peace: {left}")

    def _left(self) -> str:
        """Return what still has to happen, empty when nothing."""
        for node in self.nodes:
            if not node.running:
                return f"{node.name} does not run"
            if backlog := node.store.status().backlog_items:
                return f"{backlog} items of {node.name} are not acknowledged"
        reads = self.portal.reads()
        self.ledger.check_reads(reads)
        reads.update(list(self.portal.events()))
        missing = self.ledger.missing(reads)
        if missing and (gone := self.portal.reported_gone()):
            self.ledger.note_reported_gone(gone, self.sendable())
            missing = self.ledger.missing(reads)
        if missing and not self.ledger.thinned and (thinned := self.portal.reported_thinned()):
            self.ledger.note_thinned(thinned, missing)
            missing = self.ledger.missing(reads)
        if missing:
            return f"{len(missing)} items are not at the portal: {missing[:4]}"
        return ""

    # The end

    def _check_end(self) -> None:
        world, portal = self.world, self.portal
        kinds = portal.events()
        for event_id in kinds:
            if event_id not in self.ledger.perhaps and not event_id.startswith(_OF_THE_STORE):
                raise world.fail(f"event {event_id} is at the portal and was never appended")
        for node in self.nodes:
            if node.incarnation == 0 and (refused := node.store.rejected_batches()):
                raise world.fail(f"{node.name}: batches were refused for good: {refused[:3]}")
        if self.profile.checks_usage or self.profile.checks_rebuild:
            portal.fold(ahead=timedelta(days=3))
            if not self.disturbances.clock_was_wrong:
                self._check_usage()
        if self.profile.checks_rebuild:
            portal.check_rebuild()

    def _check_usage(self) -> None:
        """Compare what the portal makes of the registers with what the dials really did."""
        by_meter: dict[str, list[ItemKey]] = {}
        for item in self.portal.reads():
            by_meter.setdefault(item[0], []).append(item)
        volumes = {meter: (counts, unfolded) for meter, counts, unfolded in self.portal.volumes()}
        for meter, items in by_meter.items():
            items.sort(key=lambda item: item[2])
            points = unrolled([CountPoint(from_us(item[2]), item[3]) for item in items], MODULUS)  # type: ignore[arg-type]
            dial = self.ledger.truth[items[-1]] - self.ledger.truth[items[0]]
            usage = points[-1].count - points[0].count
            if usage != dial or volumes[meter] != (dial, 0):
                raise self.world.fail(f"{meter}: the dial moved {dial}, usage is {usage}, folded {volumes[meter]}")

    def sendable(self) -> set[ItemKey]:
        """Return what collectors can send, now or when the portal asks."""
        return set().union(
            *(
                node.holdings(sendable=True) if node.running else self.files_of(node, sendable=True)
                for node in self.nodes
            )
        )

    def files_of(self, node: collector.Node, *, sendable: bool = False) -> set[ItemKey]:
        """Return what the disk of a collector holds that does not run, and what it reports as thinned."""
        copy = self.root / f"{node.name}-look"
        copy_folder(node.disk.folder, copy)
        try:
            if not (copy / STORE).exists():
                return set()
            with contextlib.closing(sqlite3.connect(copy / STORE)) as database:
                held = collector.holdings(database, self.ledger, sendable=sendable)
                if not sendable:
                    held |= collector.thinned(database, self.ledger, node.name)
                return held
        except sqlite3.Error:
            return set()  # an empty file: it died before its first table
        finally:
            shutil.rmtree(copy)


def run_seed(seed: int, site: Site) -> Result:
    """Run one seed."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        return Scenario(seed, site).run()
    finally:
        if enabled:
            gc.enable()
