"""The MQTT consumer: takes signed batches off the broker, applies them, acknowledges after the commit.

One thread (paho's) receives into a bounded queue, the main thread applies. A message is acknowledged to the broker only
when it is done with, so whatever was in hand when this process died comes again; that is harmless, because a batch that
is stored already is only acknowledged again. While the database is away nothing is acknowledged and the broker keeps
what it has: memory stays within the queue.
"""

from __future__ import annotations

import logging
import queue
import ssl
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import paho.mqtt.client as mqtt
from django.conf import settings
from django.db import Error as DatabaseFault
from django.db import connection
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode

from portal.core.clock import now
from portal.core.errors import NotInitialised
from portal.fleet.broker import INGEST_NAME, MAX_IN_FLIGHT
from portal.fleet.services import portal_signing_key
from portal.ingest.apply import apply_batch
from portal.metering.services import record_refused
from sync.topics import ack_topic, batch_filter, parse_batch_topic

if TYPE_CHECKING:
    from collections.abc import Callable

    from paho.mqtt.properties import Properties
    from paho.mqtt.reasoncodes import ReasonCode

_LOG = logging.getLogger(__name__)
_KEEPALIVE_S = 30
_RETRY_FIRST_S, _RETRY_LONGEST_S = 0.2, 10.0
_STATE_EVERY_S = 60.0
_RECONNECT_LONGEST_S = 4


@dataclass
class Counters:
    """What this process did since it started."""

    committed: int = 0
    rejected: int = 0
    refused: int = 0
    database_retries: int = 0

    def line(self, *, connected: bool, waiting: int) -> str:
        """Return the line of state."""
        return (
            f"ingest {'connected' if connected else 'not connected'}: {self.committed} committed, "
            f"{self.rejected} rejected, {self.refused} refused, {waiting} waiting, {self.database_retries} retries"
        )


@dataclass
class Consumer:
    """Connects one persistent session and applies what comes until it is stopped.

    partition  of the collectors to serve, None for all: several consumers share the load on any broker.
    """

    partition: int | None = None
    counters: Counters = field(default_factory=Counters)

    def __post_init__(self) -> None:
        self._waiting: queue.Queue[tuple[int, mqtt.MQTTMessage]] = queue.Queue(maxsize=MAX_IN_FLIGHT)
        self._generation = 0
        self._stopping = threading.Event()
        self._subscribed = threading.Event()
        portal_signing_key(str(settings.PORTAL_DIR))  # without it nothing could be acknowledged: fail now
        self._client = self._make_client()

    def run(self) -> None:
        """Serve until `stop`; survives a broker or a database that is away, however long."""
        parts = urlsplit(settings.BROKER_URL)
        assert parts.hostname is not None
        _LOG.info("ingest starts; broker %s:%s", parts.hostname, parts.port)
        # Connecting happens in paho's thread, which also repeats it: the broker may come up later than we do.
        self._client.connect_async(parts.hostname, parts.port or 8883, keepalive=_KEEPALIVE_S)
        self._client.loop_start()
        try:
            self._serve()
        finally:
            self._client.disconnect()
            self._client.loop_stop()
            connection.close()

    def stop(self) -> None:
        """Finish the batch in hand, then return from `run`. Safe to call from a signal handler."""
        self._stopping.set()

    def _serve(self) -> None:
        quiet_s = 0.0
        while not self._stopping.is_set():
            try:
                generation, message = self._waiting.get(timeout=0.5)
            except queue.Empty:
                quiet_s += 0.5
                if quiet_s >= _STATE_EVERY_S:
                    quiet_s = 0.0
                    self._log_state()
                continue
            # What came over a connection that is gone comes again; its packet number means nothing on the new one.
            if generation == self._generation and self._done_with(message) and generation == self._generation:
                self._client.ack(message.mid, message.qos)

    def _done_with(self, message: mqtt.MQTTMessage) -> bool:
        """Apply one message, again and again while the database is away; False leaves it with the broker."""
        pause_s = _RETRY_FIRST_S
        while not self._stopping.is_set():
            try:
                self._apply(message)
            except DatabaseFault as error:
                if pause_s == _RETRY_FIRST_S:
                    _LOG.warning("the database is away or locked, trying again: %s", error)
                self.counters.database_retries += 1
                connection.close()
                self._stopping.wait(pause_s)
                pause_s = min(2 * pause_s, _RETRY_LONGEST_S)
            except Exception:
                # One batch that trips a fault of ours must not stop the others; the broker and the collector keep it.
                _LOG.exception("a batch of %d bytes could not be applied", len(message.payload))
                return False
            else:
                return True
        return False

    def _apply(self, message: mqtt.MQTTMessage) -> None:
        data = bytes(message.payload)
        try:
            collector = parse_batch_topic(message.topic)
        except ValueError:
            record_refused(data, "topic", topic_collector=message.topic, at=now())
            self.counters.refused += 1
            return
        result = apply_batch(data, collector, now())
        if result is None:
            self.counters.refused += 1
            return
        if result.committed:
            self.counters.committed += 1
        else:
            self.counters.rejected += 1
        # If this ack is lost the collector sends the batch again and is answered again.
        self._client.publish(ack_topic(collector), result.signed, qos=1)

    def _log_state(self) -> None:
        waiting = self._waiting.qsize()
        _LOG.info("%s", self.counters.line(connected=self._subscribed.is_set(), waiting=waiting))

    def _make_client(self) -> mqtt.Client:
        suffix = "" if self.partition is None else f"-{self.partition:02d}"
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id=INGEST_NAME + suffix, clean_session=False, manual_ack=True
        )
        if urlsplit(settings.BROKER_URL).scheme == "mqtts":
            client.tls_set_context(_tls_context(Path(settings.PORTAL_DIR) / "broker"))
        # One client, for which every collector waits: it asks often.
        client.reconnect_delay_set(min_delay=1, max_delay=_RECONNECT_LONGEST_S)
        client.max_queued_messages_set(4 * MAX_IN_FLIGHT)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        return client

    def _on_connect(
        self, client: mqtt.Client, data: object, flags: object, reason: ReasonCode, properties: Properties | None
    ) -> None:
        if reason.is_failure:
            _LOG.error(
                "the broker refused the connection: %s; its configuration comes from portal broker-config", reason
            )
            return
        self._generation += 1
        self._subscribe()

    def _subscribe(self) -> None:
        code, _ = self._client.subscribe(batch_filter(self.partition), qos=1)
        if code is not MQTTErrorCode.MQTT_ERR_SUCCESS:
            self._later(self._subscribe)

    def _on_subscribe(
        self, client: mqtt.Client, data: object, mid: int, reasons: list[ReasonCode], properties: Properties | None
    ) -> None:
        if any(reason.is_failure for reason in reasons):
            _LOG.error("the broker refused the subscription; its configuration comes from portal broker-config")
            self._later(self._subscribe)
            return
        self._subscribed.set()
        _LOG.info("ingest ready: subscribed to %s", batch_filter(self.partition))

    def _later(self, action: Callable[[], None]) -> None:
        timer = threading.Timer(5.0, lambda: None if self._stopping.is_set() else action())
        timer.daemon = True
        timer.start()

    def _on_disconnect(
        self, client: mqtt.Client, data: object, flags: object, reason: ReasonCode, properties: Properties | None
    ) -> None:
        if self._subscribed.is_set() and not self._stopping.is_set():
            _LOG.warning("the connection to the broker is lost: %s; trying again", reason)
        self._subscribed.clear()

    def _on_message(self, client: mqtt.Client, data: object, message: mqtt.MQTTMessage) -> None:
        # When the queue is full paho's thread waits here, and with it the connection: memory stays bounded whatever
        # the broker does. A connection that dies of it brings again what was not acknowledged.
        while not self._stopping.is_set():
            try:
                self._waiting.put((self._generation, message), timeout=0.5)
            except queue.Full:
                continue
            return


def _tls_context(directory: Path) -> ssl.SSLContext:
    """Return the context of mutual TLS with the portal's own certificates; raises NotInitialised."""
    try:
        context = ssl.create_default_context(cafile=str(directory / "ca.pem"))
        context.load_cert_chain(directory / "ingest.pem", directory / "ingest.key")
    except OSError as error:
        raise NotInitialised(f"{directory}: {error.strerror or error}; run `headwater portal init`") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context
