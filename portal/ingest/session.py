"""The ingest's session with the broker: one thread, driven by `pump`, persistent, acknowledging by hand.

There is no second thread on purpose: a flood that is received in one thread takes the interpreter from the thread that
applies batches, at every query once more. Here messages are received between two batches, for a bounded time.
"""

from __future__ import annotations

import logging
import ssl
import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import paho.mqtt.client as mqtt
from django.conf import settings
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode

from portal.core.errors import NotInitialised

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from paho.mqtt.properties import Properties
    from paho.mqtt.reasoncodes import ReasonCode

_LOG = logging.getLogger(__name__)
_KEEPALIVE_S = 30
_RECONNECT_FIRST_S, _RECONNECT_LONGEST_S = 1.0, 4.0  # one client, for which every collector waits: it asks often
_SUBSCRIBE_AGAIN_S = 5.0
_OUTGOING_MAX = 1024
_AT_ONCE = 64


class Session:
    """A persistent session under one client id with some subscriptions.

    on_message  gets each message that is not in hand already; it is acknowledged by `ack`, or comes again.
    on_lost     the connection ended: what was in hand comes again, and its packet numbers mean nothing any more.
    connection  counts them: a packet number is of one connection.
    """

    def __init__(
        self,
        client_id: str,
        filters: Sequence[str],
        *,
        on_message: Callable[[mqtt.MQTTMessage], None],
        on_lost: Callable[[], None],
    ) -> None:
        self._filters, self._on_taken, self._on_lost = tuple(filters), on_message, on_lost
        self.ready = False
        self.connection = 0
        self._arrived = 0
        self._in_hand: set[int] = set()
        self._connect_at_s, self._back_off_s = 0.0, _RECONNECT_FIRST_S
        self._subscribe_at_s: float | None = None
        self._client = self._make_client(client_id)

    def pump(self, wait_s: float, *, longest_s: float, enough: Callable[[], bool] = lambda: False) -> None:
        """Move bytes: wait up to `wait_s` for the first message, then take what comes for up to `longest_s`.

        enough  ends it earlier: somebody should be served at once.
        """
        if not self._is_up():
            time.sleep(min(wait_s, 0.5))
            return
        deadline_s = time.monotonic() + wait_s + longest_s
        arrived = self._arrived
        self._loop(wait_s)
        while self._arrived != arrived and time.monotonic() < deadline_s and not enough():
            arrived = self._arrived
            self._read_what_is_there(enough)
            self._loop(0.0)

    def _read_what_is_there(self, enough: Callable[[], bool]) -> None:
        """Read messages without asking in between whether more may be written: a flood has to be got out of the way."""
        for _ in range(_AT_ONCE):
            arrived = self._arrived
            if self._client.socket() is None:
                return
            self._client.loop_read()
            if self._arrived == arrived or enough():
                return

    def ack(self, mid: int, qos: int, *, connection: int) -> None:
        """Tell the broker that a message is done with, unless the connection over which it came is gone."""
        if connection == self.connection and mid in self._in_hand:
            self._in_hand.discard(mid)
            self._client.ack(mid, qos)

    def publish(self, topic: str, payload: bytes) -> bool:
        """Publish with QoS 1; returns whether it was handed over or waits for the connection."""
        code = self._client.publish(topic, payload, qos=1).rc
        return code in (MQTTErrorCode.MQTT_ERR_SUCCESS, MQTTErrorCode.MQTT_ERR_NO_CONN)

    def close(self) -> None:
        """Write what still waits, disconnect."""
        deadline_s = time.monotonic() + 1.0
        while self._client.is_connected() and self._client.want_write() and time.monotonic() < deadline_s:
            self._client.loop(0.05)
        self.ready = False
        self._client.disconnect()

    def _is_up(self) -> bool:
        """Whether there is a connection to pump; tries to make one when it is time."""
        if self._client.socket() is not None:
            return True
        now_s = time.monotonic()
        if now_s < self._connect_at_s:
            return False
        parts = urlsplit(settings.BROKER_URL)
        assert parts.hostname is not None
        self._connect_at_s = now_s + self._back_off_s
        self._back_off_s = min(2 * self._back_off_s, _RECONNECT_LONGEST_S)
        try:
            self._client.connect(parts.hostname, parts.port or 8883, keepalive=_KEEPALIVE_S)
        except (OSError, ValueError) as error:
            _LOG.debug("the broker cannot be reached: %s", error)
        return self._client.socket() is not None

    def _loop(self, wait_s: float) -> None:
        if self._subscribe_at_s is not None and time.monotonic() >= self._subscribe_at_s:
            self._subscribe()
        self._client.loop(wait_s)

    def _make_client(self, client_id: str) -> mqtt.Client:
        client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=client_id, clean_session=False, manual_ack=True)
        if urlsplit(settings.BROKER_URL).scheme == "mqtts":
            client.tls_set_context(_tls_context(Path(settings.PORTAL_DIR) / "broker"))
        client.connect_timeout = 5.0
        client.max_queued_messages_set(_OUTGOING_MAX)
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
        self._back_off_s = _RECONNECT_FIRST_S
        self._subscribe()

    def _subscribe(self) -> None:
        code, _ = self._client.subscribe([(name, 1) for name in self._filters])
        failed = code is not MQTTErrorCode.MQTT_ERR_SUCCESS
        self._subscribe_at_s = time.monotonic() + _SUBSCRIBE_AGAIN_S if failed else None

    def _on_subscribe(
        self, client: mqtt.Client, data: object, mid: int, reasons: list[ReasonCode], properties: Properties | None
    ) -> None:
        if any(reason.is_failure for reason in reasons):
            _LOG.error("the broker refused the subscription; its configuration comes from portal broker-config")
            self._subscribe_at_s = time.monotonic() + _SUBSCRIBE_AGAIN_S
            return
        self.ready = True
        _LOG.info("ingest ready: subscribed to %s", ", ".join(self._filters))

    def _on_disconnect(
        self, client: mqtt.Client, data: object, flags: object, reason: ReasonCode, properties: Properties | None
    ) -> None:
        if self.ready:
            _LOG.warning("the connection to the broker is lost: %s; trying again", reason)
        self.ready = False
        self.connection += 1
        self._in_hand.clear()
        self._on_lost()

    def _on_message(self, client: mqtt.Client, data: object, message: mqtt.MQTTMessage) -> None:
        self._arrived += 1
        if message.qos > 0:
            # A broker with a time limit on acknowledgements (NATS: ack_wait) repeats what still is in hand.
            if message.mid in self._in_hand:
                return
            self._in_hand.add(message.mid)
        self._on_taken(message)


def _tls_context(directory: Path) -> ssl.SSLContext:
    """Return the context of mutual TLS with the portal's own certificates; raises NotInitialised."""
    try:
        context = ssl.create_default_context(cafile=str(directory / "ca.pem"))
        context.load_cert_chain(directory / "ingest.pem", directory / "ingest.key")
    except OSError as error:
        raise NotInitialised(f"{directory}: {error.strerror or error}; run `headwater portal init`") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context
