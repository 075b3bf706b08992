"""The collector's service: wires store, buses, leak detection, sealing and uplink; starts, watches and stops them.

Every part restarts from what is on the disk, so a kill at any moment needs no repair: the store holds what was
appended, sealed batches keep their bytes, leak detection replays, and buses go on at their next slot.
"""

from __future__ import annotations

import hashlib
import logging
import os
import signal
import threading
import time
import uuid
from typing import TYPE_CHECKING, Any

from buffer.store import Store
from domain.errors import HeadwaterError
from domain.reading import Event, EventKind
from drivers.link import open_link
from gateway import health, schedule, systemd
from gateway.append_log import AppendLog
from gateway.bus import BusOwner
from gateway.commands import Commands
from gateway.commit import Committed, CommitWindow
from gateway.config_text import to_toml
from gateway.control import ControlServer
from gateway.instance import InstanceLock
from gateway.leak import LeakWatch
from gateway.live import Live
from gateway.memory import Memory
from gateway.plans import bus_plans
from gateway.reconfigure import TrialWatch
from gateway.requests import Requests
from gateway.sending import Sending
from gateway.timekeeping import CollectorClock

if TYPE_CHECKING:
    from collections.abc import Mapping
    from concurrent.futures import Future
    from types import FrameType

    from domain.ids import MeterId
    from domain.reading import StoredRead
    from drivers.base import Link
    from gateway.config import BusConfig, GatewayConfig
    from gateway.plans import BusPlan
    from gateway.trial import Trials

STORE_NAME = "store.db"
WATCH_EVERY_REAL_S = 1.0
STATUS_EVERY_REAL_S = 3.0
SWEEP_EVERY_REAL_S = 600.0
DRAIN_REAL_S = 10.0
BUS_STOP_REAL_S = 30.0

log = logging.getLogger(__name__)


class Service:
    """One running collector. `start`, then `wait`, then `stop`; or `run`, which does all three."""

    def __init__(self, config: GatewayConfig, trials: Trials | None = None) -> None:
        """Open everything that must be there; nothing runs yet.

        trials  where the portal's configurations are tried; None for a collector that takes none.
        raises  ConfigError, AlreadyRunning, StoreError.
        """
        self.config = config
        self.begins_anew, self.signalled = False, False
        plans = bus_plans(config)
        sending = Sending.load(config)
        self._lock = InstanceLock(config.collector.data_dir)
        self.clock = CollectorClock(config.collector.make_clock())
        self.store = Store.open(config.collector.data_dir / STORE_NAME, clock=self.clock)
        self.clock.keep_above(self.store.time_floor())
        self.memory = Memory.restore(self.store)
        self.leaks = LeakWatch.restore(self.store, clock=self.clock)
        self.store.before_thinning = lambda: self._quietly(self._save_state)
        self._append_log = AppendLog(config.collector.append_log) if config.collector.append_log else None
        self.live = Live()
        self.window = CommitWindow(self.store.append, clock=self.clock, on_committed=self._on_committed)
        self.buses = tuple(self._make_owner(plan) for plan in plans)
        self.sending = sending
        self._trial = TrialWatch(trials, sending, window=self.window, clock=self.clock, begin_anew=self._begin_anew)
        if sending is not None:
            commands = Commands(
                read_now=self._read_now, resend=sending.resend, configure=self._trial.propose, report=self._report
            )
            sending.connect(self.store, clock=self.clock, on_command=commands.carry_out)
        self._control = ControlServer(config.collector.data_dir, Requests(self).answer)
        self._stop_asked = threading.Event()
        self._failure: BaseException | None = None
        self._started_at = self.clock.now()
        self._store_facts: dict[str, Any] = {}
        self._store_asked_real_s = -1e9
        self._health = threading.Thread(target=self._keep_health, name="health", daemon=True)

    # -- life --------------------------------------------------------------------------------------------------------

    def run(self) -> int:
        """Run until SIGTERM or SIGINT, or until `begins_anew`; return the exit code."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        threading.excepthook = self._on_thread_failure
        self.start()
        systemd.notify("READY=1")
        while not self._stop_asked.wait(WATCH_EVERY_REAL_S):
            systemd.notify("WATCHDOG=1")
            self._watch_clock()
            self._trial.watch()
        systemd.notify("STOPPING=1")
        self.stop()
        return 1 if self._failure else 0

    def start(self) -> None:
        """Start reading and sending."""
        if self._append_log is not None:
            late = self._append_log.catch_up(self.store)
            if late:
                log.warning("append log: %d lines that a kill cut off were written late", late)
        self.window.start()
        detail: dict[str, str | int] = {"pid": os.getpid(), "meters": len(self.config.meters)}
        self.window.add((), [self.event(EventKind.STARTED, detail=detail), *self._config_event()])
        self._control.start()
        if self.sending:
            self.sending.start()
        self._trial.take_up()
        for owner in self.buses:
            owner.start()
        self._health.start()
        log.warning(
            "collector %s reads %d meters on %d buses into %s",
            self.config.collector.id,
            len(self.config.meters),
            len(self.buses),
            self.config.collector.data_dir,
        )

    def _begin_anew(self) -> None:
        self.begins_anew = True
        self._stop_asked.set()

    def ask_to_stop(self) -> None:
        """Let `run` end."""
        self._stop_asked.set()

    def stop(self) -> None:
        """End cleanly: finish the exchange on each bus, commit, seal, send for a moment, write the last status."""
        self._stop_asked.set()
        self._control.stop()
        self.live.stop()
        for owner in self.buses:
            owner.stop()
        ends_real_s = time.monotonic() + BUS_STOP_REAL_S
        for owner in self.buses:
            owner.join(max(0.0, ends_real_s - time.monotonic()))
        self.window.add((), [self.event(EventKind.STOPPED)])
        self.window.stop()
        self._quietly(self._save_state)
        if self.sending:
            sending = self.sending
            self._quietly(lambda: sending.stop(drain_real_s=DRAIN_REAL_S))
        self._health.join(10)
        self._quietly(lambda: self._write_status("stopped"))
        self.store.close()
        if self._append_log is not None:
            self._append_log.close()
        self._lock.release()
        log.warning("collector %s stopped", self.config.collector.id)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.signalled = True
        self._stop_asked.set()

    def _on_thread_failure(self, args: threading.ExceptHookArgs) -> None:
        """A part failed in a way that nobody foresaw: stop cleanly and let the service manager start us anew."""
        name = args.thread.name if args.thread else "a thread"
        log.critical("%s failed", name, exc_info=args.exc_value)
        if name.startswith("control"):
            return
        self._failure = args.exc_value
        self._stop_asked.set()

    def _quietly(self, last_words: Any) -> None:
        """Do what may fail, such as the last things; what the store cannot take now is where it was."""
        try:
            last_words()
        except (HeadwaterError, OSError) as error:
            log.warning("left for later: %s", error)

    # -- from reads to batches ---------------------------------------------------------------------------------------

    def _on_committed(self, what: Committed) -> None:
        """Follow one transaction, in the order of the store. Nothing here may stop the bus that waits for it."""
        if self._append_log is not None:
            try:
                self._append_log.write(self.store.epoch, what.reads)
            except OSError as error:
                log.warning("append log: %s; its missing lines follow at the next start", error)
        if self.sending is not None:
            self.sending.committed(what)
        self.live.publish(what)
        # A window later than its reads. Should it not come to that, the next start replays the reads.
        self.window.add((), self.leaks.feed(what.reads))
        try:
            if what.last_seq:
                self.leaks.maybe_snapshot(what.last_seq)
            self.memory.save(self.store)
        except HeadwaterError as error:
            log.warning("a snapshot could not be kept: %s", error)

    def _read_now(self, meter: str) -> Future[Any] | None:
        """Read a meter before the next poll; None when no bus has it."""
        for owner in self.buses:
            if meter in owner.plan.targets:
                return owner.read_now(owner.plan.targets[meter], owner.plan.drivers[meter])
        return None

    def _report(self, kind: EventKind, event_id: str, detail: Mapping[str, str | int]) -> None:
        """Have the outcome of a command stored; the uplink, whose acks make room on a full disk, does not wait."""
        self._add_event(Event(event_id, kind, self.clock.now(), self.clock.state(), None, dict(detail)))

    def _save_state(self) -> None:
        self.memory.save(self.store)
        self.leaks.snapshot(self.store.status().last_append_seq)

    # -- buses -------------------------------------------------------------------------------------------------------

    def _make_owner(self, plan: BusPlan) -> BusOwner:
        last: dict[MeterId, StoredRead] = {}
        for register, stored in self.store.last_reads().items():
            if register.register_id == "total" or register.meter_id not in last:
                last[register.meter_id] = stored
        histories: dict[str, schedule.History] = {}
        now, state = self.clock.now(), self.clock.state()
        for meter in plan.plan.meters:
            found = last.get(plan.targets[meter.meter_id].meter_id)
            if found is None:
                continue
            read = found.read
            if read.clock.boot_id == state.boot_id:
                age_s = (state.monotonic_ns - read.clock.monotonic_ns) / 1e9
            else:
                age_s = (now - read.read_at).total_seconds()
            histories[meter.meter_id] = schedule.resumed(meter, last_read_age_s=age_s, now_s=self.clock.monotonic())
        owner = BusOwner(
            plan,
            clock=self.clock,
            window=self.window,
            memory=self.memory,
            open_line=lambda: line_of(plan.bus, self.clock),
            histories=histories,
        )
        for name, meter_state in owner.state.meters.items():
            stored_read = last.get(plan.targets[name].meter_id)
            if stored_read is not None:
                meter_state.last_read_at = stored_read.read.read_at
                meter_state.last_count = stored_read.read.raw_count
        return owner

    def owner(self, bus_name: str) -> BusOwner:
        """Return the owner of a bus by its name, the only one when the name is empty. raises ConfigError."""
        name = self.config.bus(bus_name).name
        return next(owner for owner in self.buses if owner.plan.bus.name == name)

    # -- watching ----------------------------------------------------------------------------------------------------

    def event(self, kind: EventKind, *, detail: Mapping[str, str | int | list[int] | list[str]] | None = None) -> Event:
        """Return an event of the collector itself, now."""
        event_id = f"{kind.value}-{uuid.uuid4().hex}"
        return Event(event_id, kind, self.clock.now(), self.clock.state(), None, dict(detail or {}))

    def _config_event(self) -> list[Event]:
        """Return an event when the configuration is another than at the last start, without addresses or paths."""
        digest = hashlib.sha256(to_toml(self.config).encode()).hexdigest()[:16]
        if not self.memory.set("config", "digest", digest):
            return []
        detail: dict[str, str | int] = {
            "digest": digest,
            "buses": len(self.config.buses),
            "meters": len(self.config.meters),
        }
        return [self.event(EventKind.CONFIG_APPLIED, detail=detail)]

    def _watch_clock(self) -> None:
        step = self.clock.check()
        if step is not None:
            log.warning("the clock was set: %s", dict(step.detail))
            self._add_event(step)

    def _add_event(self, event: Event) -> None:
        """Have an event stored, in a thread of its own: a stalled disk must silence neither watchdog nor status."""
        threading.Thread(target=self.window.add, args=((), [event]), name="control-event", daemon=True).start()

    def _keep_health(self) -> None:
        """Write the status every few seconds; now and then sweep what the portal acknowledged long ago."""
        swept_real_s, told = time.monotonic(), ""
        while True:
            try:
                self._write_status("running")
                told = ""
            except (HeadwaterError, OSError) as error:
                if told != str(error):  # once: a disk may stay full for a day
                    log.warning("the status cannot be written: %s", error)
                told = str(error)
            if time.monotonic() - swept_real_s > SWEEP_EVERY_REAL_S:
                swept_real_s = time.monotonic()
                self._quietly(self.store.sweep)
            if self._stop_asked.wait(STATUS_EVERY_REAL_S):
                return

    def _write_status(self, state: str) -> None:
        health.write_status(self.config.collector.data_dir, self.status(state))

    def status(self, state: str = "running") -> dict[str, Any]:
        """Return everything that `headwater gateway status` shows."""
        clock = self.clock.state()
        portal = self.config.portal
        expires_at = health.certificate_expires(portal.certificate if portal else None)
        status: dict[str, Any] = {
            "written_s": time.time(),
            "state": state,
            "collector": str(self.config.collector.id),
            "started_at": self._started_at.isoformat(),
            **health.process_facts(),
            "clock": {
                "now": self.clock.now().isoformat(),
                "synchronised": clock.synchronised,
                "synced_since": clock.synced_since.isoformat() if clock.synced_since else None,
            },
            "buses": [health.describe_bus(owner, self.memory) for owner in self.buses],
            "leaks": self.leaks.open_alarms(),
            **self._describe_store(fresh=state == "stopped"),
            "commit": health.counters(self.window.counters),
            "uplink": self.sending.describe() if self.sending else {"state": "not enrolled"},
            "certificate": {"expires_at": expires_at.isoformat() if expires_at else None},
        }
        if self.sending:
            waiting = status["backlog"]["unsent_items"] + status["backlog"]["unacked_items"]
            status["uplink"]["link_minutes"] = self.sending.link_minutes(waiting)
        status["faults"] = health.faults(status)
        return status

    def _describe_store(self, *, fresh: bool) -> dict[str, Any]:
        """Ask the store, but seldom enough that counting a long backlog costs it less than a twentieth of its time."""
        began_real_s = time.monotonic()
        if fresh or not self._store_facts or began_real_s >= self._store_asked_real_s:
            status = self.store.status()
            pressed = health.disk_pressed(status)
            self._store_facts = {
                "backlog": health.describe_backlog(status),
                "store": {**health.describe_store(status), "pressed": pressed},
            }
            took_s = time.monotonic() - began_real_s
            self._store_asked_real_s = began_real_s + 20 * took_s
            if self.memory.set("disk", "pressed", "yes" if pressed else None) and pressed:
                log.warning(
                    "the disk is nearly full: %d MiB free; it drains once the portal acknowledges",
                    status.bytes_free // 2**20,
                )
                detail = {"bytes_free": status.bytes_free, "bytes_used": status.bytes_used}
                self._add_event(self.event(EventKind.DISK_PRESSURE, detail=detail))
        return self._store_facts


def line_of(bus: BusConfig, clock: CollectorClock) -> Link:
    """Open a bus's line. raises ResourceUnavailable naming the fix."""
    return open_link(
        kind=bus.kind,
        clock=clock,
        port=bus.port,
        baudrate=bus.baudrate,
        parity=bus.parity,
        stop_bits=bus.stop_bits,
        host=bus.host,
        tcp_port=bus.tcp_port,
    )
