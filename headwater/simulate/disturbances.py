"""The faults of a seed, carried out at their moment and undone after a while."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from headwater.simulate.collector import Node
    from headwater.simulate.ledger import ItemKey
    from headwater.simulate.scenario import Scenario

BACKUP_AGE_MOST_S = 3600.0


class Disturbances:
    """Carries out a schedule; `heal` ends everything that still lasts."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario, self._world = scenario, scenario.world
        self._broker, self._portal = scenario.broker, scenario.portal
        self.clock_was_wrong = False
        self._peace = False

    def prepare(self, schedule: list[tuple[float, str, int]]) -> None:
        """Enter a schedule, and the copies that some of its faults put back."""
        for moment_s, fault, number in schedule:
            node = self._scenario.nodes[number]
            if fault == "old-image":
                taken_s = self._world.rng.uniform(0, moment_s)
                self._world.at(taken_s, "image", lambda node=node: self._take_image(node))  # type: ignore[misc]
            elif fault == "portal-restore":
                taken_s = max(0.0, moment_s - self._world.rng.uniform(30.0, BACKUP_AGE_MOST_S))
                self._world.at(taken_s, "backup", self._portal.backup)
            self._world.at(moment_s, fault, lambda fault=fault, node=node: self._begin(fault, node))  # type: ignore[misc]

    def heal(self) -> None:
        """End everything that lasts, and begin nothing more."""
        self._peace = True
        broker, portal = self._broker, self._portal
        broker.drops, broker.calm = False, True
        portal.crash_in = None
        for node in self._scenario.nodes:
            node.disk.crash_in, node.disk.full = None, False
            self._set_clock(node)
            link = broker.links[node.name]
            link.whole, link.up_cut, link.down_cut, link.bytes_per_s = True, False, False, math.inf
        if not portal.up:
            self._portal_up()
        if not broker.up:
            broker.start()

    def _begin(self, fault: str, node: Node) -> None:
        if not self._peace:
            self._world.note(f"FAULT {fault} {node.name}")
            getattr(self, f"_{fault.replace('-', '_')}")(node)

    def _until(self, low_s: float, high_s: float, end: Callable[[], None]) -> None:
        self._world.after(self._world.rng.uniform(low_s, high_s), "end of a fault", end)

    # Links and broker

    def _partition(self, node: Node) -> None:
        link = self._broker.links[node.name]
        link.whole = False
        self._until(2, 90, lambda: self._broker.drop_session(link) if not link.whole else None)
        self._until(30, 2400, lambda: setattr(link, "whole", True))

    def _cut_up(self, node: Node) -> None:
        link = self._broker.links[node.name]
        link.up_cut = True
        self._until(30, 900, lambda: self._heal_cut(node))

    def _cut_down(self, node: Node) -> None:
        link = self._broker.links[node.name]
        link.down_cut = True
        self._until(30, 900, lambda: self._heal_cut(node))

    def _heal_cut(self, node: Node) -> None:
        link = self._broker.links[node.name]
        link.up_cut = link.down_cut = False
        if self._world.chance(0.5):
            self._broker.drop_session(link)

    def _slow(self, node: Node) -> None:
        link = self._broker.links[node.name]
        link.bytes_per_s = math.exp(self._world.rng.uniform(math.log(3), math.log(3000)))
        self._until(120, 3600, lambda: setattr(link, "bytes_per_s", math.inf))

    def _broker_restart(self, node: Node) -> None:
        self._broker.stop(forgets=False)
        self._until(3, 600, self._broker.start)

    def _broker_loss(self, node: Node) -> None:
        self._broker.stop(forgets=True)
        self._until(3, 600, self._broker.start)

    def _broker_drops(self, node: Node) -> None:
        self._broker.drops = True
        self._until(30, 1200, lambda: setattr(self._broker, "drops", False))

    # Collectors

    def _crash(self, node: Node) -> None:
        node.kill("killed")

    def _crash_in_store(self, node: Node) -> None:
        node.disk.crash_in = self._world.rng.randint(1, 40)

    def _restart(self, node: Node) -> None:
        node.stop()
        self._until(1, 60, node.start)

    def _power_cut(self, node: Node) -> None:
        self.clock_was_wrong = True
        node.power_cut()
        self._until(30, 3000, lambda: self._set_clock(node))

    def _clock_step(self, node: Node) -> None:
        self.clock_was_wrong = True
        step_s = math.exp(self._world.rng.uniform(math.log(0.5), math.log(20_000))) * self._world.rng.choice((-1, 1))
        node.hardware.wrong_by += timedelta(milliseconds=round(1000 * step_s))
        if self._world.chance(0.5):
            self._until(60, 3600, lambda: self._set_clock(node))

    def _set_clock(self, node: Node) -> None:
        node.hardware.wrong_by, node.hardware.synchronised = timedelta(0), True

    def _disk_full(self, node: Node) -> None:
        node.disk.full = True
        node.disk.room_bytes = self._world.rng.choice((0, 4096, 20_000, 200_000))
        self._until(30, 2400, lambda: setattr(node.disk, "full", False))

    def _damage(self, node: Node) -> None:
        node.kill("before its disk is damaged")
        before = self._scenario.files_of(node)
        self._world.note(f"{node.name}: damaged: {node.disk.damage()}")
        node.on_start.append(lambda: self._account(node, before))

    def _take_image(self, node: Node) -> None:
        node.disk.take_image()

    def _old_image(self, node: Node) -> None:
        """Put a disk back, at any moment or while a batch is on its way: what answers it then meets another one."""
        if self._world.chance(0.4):
            self._put_back(node)
            return
        profile = self._scenario.profile
        wait_s = self._world.rng.uniform(0.0, 2 * (profile.latency_s + profile.jitter_s))

        def strike() -> None:
            if not self._peace:
                self._put_back(node)

        node.on_publish.append(lambda: self._world.after(wait_s, "old-image", strike))

    def _put_back(self, node: Node) -> None:
        node.kill("before its disk is put back")
        before = self._scenario.files_of(node)
        witness = self._world.chance(0.5)
        taken_s = node.disk.put_back(witness=witness)
        if taken_s is None:
            return
        node.incarnation += witness
        node.images += 1
        self._world.note(
            f"{node.name}: disk of {taken_s:.0f} s is back, {'with' if witness else 'without'} its witness"
        )
        self._scenario.ledger.note_given_up(node.name, before)
        node.on_start.append(lambda: self._account(node, before))

    def _account(self, node: Node, before: set[ItemKey]) -> None:
        gone = before - node.holdings()
        lost = self._scenario.ledger.note_destroyed(gone)
        self._world.note(f"{node.name}: {len(gone)} items are gone from its disk, {lost} of them not at the portal")

    def _burst(self, node: Node) -> None:
        """Read often while nobody takes anything: a small store runs full."""
        rng = self._world.rng
        self._broker.links[node.name].whole = False
        self._broker.drop_session(self._broker.links[node.name])
        self._until(3600, 9000, lambda: setattr(self._broker.links[node.name], "whole", True))
        reads = 3500 if self._scenario.profile.max_items > 100 else 300
        node.burst(reads // len(node.meters), rng.choice((10.0, 25.0)))

    def _rotate_key(self, node: Node) -> None:
        node.keys.rotate()

    # Portal

    def _portal_crash(self, node: Node) -> None:
        self._portal.crash_in = self._world.rng.randint(1, 60)

    def _portal_down(self, node: Node) -> None:
        self._portal.up = False
        self._until(10, 3000, self._portal_up)

    def _portal_up(self) -> None:
        if not self._portal.up:
            self._portal.up = True
            self._broker.redeliver()

    def _portal_restore(self, node: Node) -> None:
        self._portal.restore(self._scenario.sendable())
        self._broker.redeliver()

    def _fold(self, node: Node) -> None:
        if self._portal.up:
            self._portal.fold()
