"""The uplink: publishes sealed batches until the portal's signed ack for each of them has come.

What the broker acknowledges means nothing here (brokers acknowledge publishes that their access rules drop). A batch
leaves the window when the portal's signed ack for its identity and hash was stored; until then the very same bytes are
published again after a time-out and after every reconnection. Unknown means unsent.
"""

from __future__ import annotations

import contextlib
import logging
import math
import random
import threading
import time
from collections import deque
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol

from domain.errors import HeadwaterError
from domain.ids import Stream
from sync.connection import Connection
from sync.errors import BadMessage, NotConnected
from sync.signing import open_ack, open_command
from sync.topics import ack_topic, batch_topic

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from domain.clock import Clock
    from domain.ids import BatchId, CollectorId
    from sync.connection import BrokerAddress, TlsFiles
    from sync.signing import Command, VerifyKey

_log = logging.getLogger(__name__)

COMMAND_LIFETIME = timedelta(days=7)
FORKED = frozenset({"conflict", "chain"})
"""Reasons that say the portal's chain and ours have parted: a disk was put back from a copy, its witness with it."""
_STREAMS = (Stream.URGENT, Stream.BULK)
_TICK_S = 0.1
_URGENT_EVERY_S = 1.0
"""Alarms are looked for this often (real time) even when nobody called `wake`."""


class OutgoingBatch(Protocol):
    """A sealed batch: its signed bytes are the same for ever."""

    @property
    def id(self) -> BatchId:
        """Identity."""
        ...

    @property
    def hash(self) -> bytes:
        """The sha256 of `data`."""
        ...

    @property
    def data(self) -> bytes:
        """Signed bytes."""
        ...

    @property
    def items(self) -> int:
        """How many reads and events it carries."""
        ...


class UplinkStore(Protocol):
    """What the uplink needs of a store; buffer.store.Store has it."""

    def seal(
        self, stream: Stream, collector: CollectorId, encode: Callable[[Any], bytes], *, max_items: int
    ) -> OutgoingBatch | None:
        """Make the next batch of a stream; None when there is nothing to send or too much waits."""
        ...

    def unacked(self, stream: Stream, *, after: int = 0, limit: int = 32) -> Sequence[OutgoingBatch]:
        """Return the batches that wait for their ack, oldest first."""
        ...

    def acked(self, batch_id: BatchId, batch_hash: bytes) -> bool:
        """Note an ack; returns whether the batch is known."""
        ...

    def rejected(self, batch_id: BatchId, batch_hash: bytes, reason: str) -> bool:
        """Set a batch aside; returns whether it is known."""
        ...

    def forked(self, batch_id: BatchId, batch_hash: bytes) -> bool:
        """Seal anew, in a new epoch, what this batch and those behind it carry; False when there is nothing to do."""
        ...

    def use_nonce(self, nonce: bytes, expires_at: datetime) -> bool:
        """Use up a command's number; False when it was used before."""
        ...


@dataclass(frozen=True, slots=True)
class UplinkPlan:
    """How the uplink behaves. Times are real seconds, but for `seal_every_s`, which is of the collector's clock.

    max_items         reads and events in one batch.
    window            batches of one stream that may be published and not yet acknowledged.
    ack_timeout_s     after this the same bytes are published again; doubles each time up to `ack_timeout_max_s`.
    probe_max_s       the same bound for the newest batch on its way. Its ack brings the others again at once, so after
                      an hour without a portal, or a broker that forgot, one batch asks and the rest need not.
    keepalive_s       of MQTT. A dead link shows by its missing acks too; on a metered one a ping costs 140 bytes.
    back_off_max_s    longest wait between two attempts to connect; each wait is drawn from 0 up to its bound.
    """

    seal_every_s: float = 60.0
    max_items: int = 5_000
    window: int = 8
    ack_timeout_s: float = 30.0
    ack_timeout_max_s: float = 600.0
    probe_max_s: float = 60.0
    keepalive_s: int = 60
    back_off_s: float = 1.0
    back_off_max_s: float = 30.0


@dataclass(frozen=True, slots=True)
class UplinkStatus:
    """Counters since the start, for the status page."""

    connected: bool = False
    connections: int = 0
    failures: int = 0
    last_error: str = ""
    published: int = 0
    resent: int = 0
    committed: int = 0
    rejected: int = 0
    unknown_acks: int = 0
    bad_messages: int = 0
    commands: int = 0
    last_ack_at: datetime | None = None


@dataclass(slots=True)
class _Flight:
    """A batch on its way: when it was published last, and how long its ack may take.

    overtaken  a later batch was acknowledged first, and this one was published again for it.
    """

    batch: OutgoingBatch
    sent_at: float
    timeout_s: float
    overtaken: bool = False


@dataclass(slots=True)
class _Lane:
    """One stream: batches to publish, oldest first, and those published and not yet acknowledged."""

    waiting: deque[OutgoingBatch] = field(default_factory=deque)
    flying: dict[BatchId, _Flight] = field(default_factory=dict)
    seal_at: float = -math.inf


class Uplink:
    """One thread that keeps a connection up and the window full.

    encode      makes the signed bytes of a seal request (gateway/service.py wires it to sync.signing).
    keys        finds the portal's key by its key id.
    on_command  carries out a verified, fresh command whose number was not used before; runs on the uplink's thread.
    """

    def __init__(
        self,
        store: UplinkStore,
        *,
        collector: CollectorId,
        address: BrokerAddress,
        tls: TlsFiles | None,
        encode: Callable[[Any], bytes],
        keys: Callable[[bytes], VerifyKey | None],
        clock: Clock,
        plan: UplinkPlan | None = None,
        on_command: Callable[[Command], None] | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self._store, self._collector, self._address, self._tls = store, collector, address, tls
        self._encode, self._keys, self._clock, self._plan = encode, keys, clock, plan or UplinkPlan()
        self._on_command = on_command
        self._rng = rng or random.Random()  # noqa: S311  jitter, no secret
        self._lanes = {stream: _Lane() for stream in _STREAMS}
        self._connection: Connection | None = None
        self._stopping, self._wake = threading.Event(), {stream: threading.Event() for stream in _STREAMS}
        self._status, self._told = UplinkStatus(), False
        self._thread = threading.Thread(target=self._run, name="uplink", daemon=True)

    def start(self) -> None:
        """Start the thread; the broker may be away for as long as it likes."""
        self._thread.start()

    def stop(self, timeout_s: float = 8.0) -> None:
        """Stop within a connection attempt's time-out at the latest; what is unacknowledged stays in the store."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    def wake(self, stream: Stream | None = None) -> None:
        """Seal what a stream (or each) holds now, without waiting for its time: an alarm was stored, or we leave."""
        for one in _STREAMS if stream is None else (stream,):
            self._wake[one].set()

    def status(self) -> UplinkStatus:
        """Return the counters."""
        return self._status

    @property
    def in_flight(self) -> int:
        """Batches published and not yet acknowledged."""
        return sum(len(lane.flying) for lane in self._lanes.values())

    # The thread

    def _run(self) -> None:
        attempt = 0
        while not self._stopping.is_set():
            acked_before = self._status.committed
            try:
                self._session()
            except HeadwaterError as error:
                self._failed(error)
            except Exception as error:
                _log.exception("uplink: unexpected; connecting again")
                self._failed(error)
            # A connection that got something acknowledged was a good one: begin with short waits again.
            attempt = 0 if self._status.committed > acked_before else attempt + 1
            self._stopping.wait(self.back_off_s(attempt))

    def back_off_s(self, attempt: int) -> float:
        """Return how long to wait after the attempt of this number: drawn from 0 to a bound that doubles."""
        bound = min(self._plan.back_off_max_s, self._plan.back_off_s * 2.0 ** min(attempt, 30))
        return self._rng.uniform(0, bound)

    def _failed(self, error: Exception) -> None:
        # Once when it goes, once when it returns: a broker that is away for a day is not a log line a minute.
        if not self._told:
            _log.warning("uplink: %s; batches wait in the store", error)
        self._told = True
        self._count(connected=False, failures=self._status.failures + 1, last_error=str(error))

    def _session(self) -> None:
        connection = Connection(
            self._address,
            self._collector,
            tls=self._tls,
            on_message=self._take,
            keepalive_s=self._plan.keepalive_s,
        )
        try:
            connection.open()
            level = logging.WARNING if self._told else logging.INFO
            _log.log(level, "uplink: connected to %s:%d", self._address.host, self._address.port)
            self._connection, self._told = connection, False
            self._count(connected=True, connections=self._status.connections + 1, last_error="")
            self._load_waiting()
            while not self._stopping.is_set():
                self._fill()
                connection.pump(_TICK_S)
            connection.close()
        finally:
            self._connection = None
            self._count(connected=False)
            with contextlib.suppress(OSError, ValueError):
                connection.drop()

    def _load_waiting(self) -> None:
        """Begin with everything that is sealed and not acknowledged, whatever was published before."""
        for stream, lane in self._lanes.items():
            lane.flying.clear()
            lane.waiting = deque(self._store.unacked(stream, limit=1_000))

    def _fill(self) -> None:
        """Publish what is due: alarms first, resends before new batches."""
        for stream in _STREAMS:
            lane = self._lanes[stream]
            if self._wake[stream].is_set():
                self._wake[stream].clear()
                lane.seal_at = -math.inf
            for flight in self._overdue(lane):
                self._resend(flight)
            while len(lane.flying) < self._plan.window:
                batch = lane.waiting.popleft() if lane.waiting else self._seal(stream, lane)
                if batch is None:
                    break
                self._publish(batch)
                lane.flying[batch.id] = _Flight(batch, time.monotonic(), self._plan.ack_timeout_s)

    def _overdue(self, lane: _Lane) -> list[_Flight]:
        """Return what to publish again now, oldest first."""
        flights, now = list(lane.flying.values()), time.monotonic()
        newest = max((flight.batch.id.sequence for flight in flights), default=0)
        bounds = {newest: self._plan.probe_max_s}
        return [
            flight
            for flight in flights
            if now >= flight.sent_at + min(flight.timeout_s, bounds.get(flight.batch.id.sequence, math.inf))
        ]

    def _seal(self, stream: Stream, lane: _Lane) -> OutgoingBatch | None:
        """Return a new batch when one is due: at its interval, when woken, or when the one before was a full one."""
        urgent = stream is Stream.URGENT
        now = time.monotonic() if urgent else self._clock.monotonic()
        if now < lane.seal_at:
            return None
        batch = self._store.seal(stream, self._collector, self._encode, max_items=self._plan.max_items)
        if batch is None or batch.items < self._plan.max_items:
            lane.seal_at = now + (_URGENT_EVERY_S if urgent else self._plan.seal_every_s)
        return batch

    def _publish(self, batch: OutgoingBatch) -> None:
        if self._connection is None:
            raise NotConnected("the connection to the broker ended")
        self._connection.publish(batch_topic(self._collector), batch.data)
        self._count(published=self._status.published + 1)

    def _resend(self, flight: _Flight) -> None:
        flight.timeout_s = min(2 * flight.timeout_s, self._plan.ack_timeout_max_s)
        flight.sent_at = time.monotonic()
        self._count(resent=self._status.resent + 1)
        self._publish(flight.batch)

    # What arrives

    def _take(self, topic: str, payload: bytes) -> None:
        """Handle an ack or a command; whatever arrives, the connection stays up."""
        try:
            if topic == ack_topic(self._collector):
                self._take_ack(payload)
            else:
                self._take_command(payload)
        except BadMessage as error:
            _log.warning("uplink: ignored a message on %s: %s", topic, error)
            self._count(bad_messages=self._status.bad_messages + 1)
        except HeadwaterError as error:
            # A store that cannot write just now: nothing is settled, the batch is published again and acked again.
            _log.warning("uplink: a message on %s could not be kept: %s", topic, error)

    def _take_ack(self, payload: bytes) -> None:
        ack = open_ack(payload, collector=self._collector, keys=self._keys)
        if ack.committed:
            known = self._store.acked(ack.batch_id, ack.batch_hash)
        elif ack.reason_code in FORKED and self._store.forked(ack.batch_id, ack.batch_hash):
            _log.error(
                "uplink: the portal holds other batches under our numbers (%s); a new epoch begins", ack.batch_id
            )
            self._count(rejected=self._status.rejected + 1, last_ack_at=self._clock.now())
            self._load_waiting()
            return
        else:
            known = self._store.rejected(ack.batch_id, ack.batch_hash, ack.reason_code)
        if not known:
            self._count(unknown_acks=self._status.unknown_acks + 1)
            return
        lane = self._lanes[ack.batch_id.stream]
        fresh = lane.flying.pop(ack.batch_id, None) is not None
        _hasten(lane, ack.batch_id.sequence)
        if any(batch.id == ack.batch_id for batch in lane.waiting):
            lane.waiting = deque(batch for batch in lane.waiting if batch.id != ack.batch_id)
            fresh = True
        if not fresh:
            return
        if ack.committed:
            self._count(committed=self._status.committed + 1, last_ack_at=self._clock.now())
        else:
            _log.error("uplink: the portal rejected batch %s (%s); it is set aside", ack.batch_id, ack.reason_code)
            self._count(rejected=self._status.rejected + 1, last_ack_at=self._clock.now())

    def _take_command(self, payload: bytes) -> None:
        command = open_command(
            payload, collector=self._collector, keys=self._keys, now=self._clock.now(), longest=COMMAND_LIFETIME
        )
        if not self._store.use_nonce(command.nonce, command.expires_at):
            _log.info("uplink: command %s was carried out before", command.nonce.hex())
            return
        self._count(commands=self._status.commands + 1)
        if self._on_command is not None:
            self._on_command(command)

    def _count(self, **changes: Any) -> None:
        self._status = replace(self._status, **changes)


def _hasten(lane: _Lane, acked_sequence: int) -> None:
    """Publish again, once and without waiting for the time-out, what a later batch was acknowledged before.

    One collector's messages reach one ingest worker in order, so an earlier batch without an answer was lost on the
    way: published before the portal's first subscription, for one, when the broker keeps it for nobody.
    """
    for flight in lane.flying.values():
        if flight.batch.id.sequence < acked_sequence and not flight.overtaken:
            flight.overtaken, flight.sent_at = True, -math.inf
