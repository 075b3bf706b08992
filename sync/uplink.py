"""The uplink: one thread that keeps a connection to the broker and moves what sync/sender.py decides.

The sender says what is published when, and what an answer means; here are the thread, the connection and its back-off.
"""

from __future__ import annotations

import contextlib
import logging
import random
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from domain.errors import HeadwaterError
from sync.connection import Connection
from sync.outbound import OutgoingBatch, UplinkPlan, UplinkStatus, UplinkStore
from sync.sender import Sender

if TYPE_CHECKING:
    from collections.abc import Callable

    from domain.clock import Clock
    from domain.ids import CollectorId, Stream
    from sync.connection import BrokerAddress, TlsFiles
    from sync.outbound import Outgoing
    from sync.signing import Command, VerifyKey

__all__ = ["OutgoingBatch", "Uplink", "UplinkPlan", "UplinkStatus", "UplinkStore"]

_log = logging.getLogger(__name__)

_TICK_S = 0.1


class Uplink:
    """One thread that keeps a connection up and the window full; the parameters are Sender's and Connection's."""

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
        self._plan = plan or UplinkPlan()
        self.sender = Sender(
            store, collector=collector, encode=encode, keys=keys, clock=clock, plan=self._plan, on_command=on_command
        )
        self._collector, self._address, self._tls = collector, address, tls
        self._rng = rng or random.Random()  # noqa: S311  jitter, no secret
        self._connection: Connection | None = None
        self._stopping = threading.Event()
        self._failures, self._last_error, self._told = 0, "", False
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
        self.sender.wake(stream)

    def hurry(self) -> None:
        """Seal and send all there is; ask again soon where no answer comes."""
        self.sender.hurry()

    def status(self) -> UplinkStatus:
        """Return the counters."""
        return replace(self.sender.status(), failures=self._failures, last_error=self._last_error)

    @property
    def in_flight(self) -> int:
        """Batches published and not yet acknowledged."""
        return self.sender.in_flight

    # The thread

    def _run(self) -> None:
        attempt = 0
        while not self._stopping.is_set():
            acked_before = self.sender.status().committed
            try:
                self._session()
            except HeadwaterError as error:
                self._failed(error)
            except Exception as error:
                _log.exception("uplink: unexpected; connecting again")
                self._failed(error)
            # A connection that got something acknowledged was a good one: begin with short waits again.
            attempt = 0 if self.sender.status().committed > acked_before else attempt + 1
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
        self._failures, self._last_error = self._failures + 1, str(error)

    def _session(self) -> None:
        connection = Connection(
            self._address,
            self._collector,
            tls=self._tls,
            on_message=lambda topic, payload: self.sender.take(topic, payload, time.monotonic()),
            keepalive_s=self._plan.keepalive_s,
        )
        try:
            connection.open()
            level = logging.WARNING if self._told else logging.INFO
            _log.log(level, "uplink: connected to %s:%d", self._address.host, self._address.port)
            self._connection, self._told, self._last_error = connection, False, ""
            self.sender.connected(time.monotonic())
            handed: list[Outgoing] = []
            while not self._stopping.is_set():
                self._publish_due(connection, handed)
                connection.pump(_TICK_S)
            connection.close()
        finally:
            self._connection = None
            self.sender.disconnected()
            with contextlib.suppress(OSError, ValueError):
                connection.drop()

    def _publish_due(self, connection: Connection, handed: list[Outgoing]) -> None:
        """Publish what is due; `handed` holds what the connection was given and may not have left yet."""
        while True:
            room = not connection.unsent
            if room:
                for outgoing in handed:
                    self.sender.sent(outgoing, time.monotonic())
                handed.clear()
            due = self.sender.due(time.monotonic(), room=room)
            if due is None:
                return
            connection.publish(due.topic, due.payload)
            handed.append(due)
