"""One MQTT connection of a collector: mutual TLS, subscriptions that were really granted, nothing in clear text.

MQTT 3.1.1 subset only, so that any broker serves. A connection is used once: after it ends, a new one is made. That
way the only queue of unsent batches is the store's, and paho never resends behind our back.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import socket
import ssl
import struct
import termios
import time
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from paho.mqtt.client import Client, MQTTMessage, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode

from domain.errors import ConfigError
from sync.errors import NotConnected
from sync.topics import ack_topic, command_topic, state_topic

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from domain.ids import CollectorId

ANSWER_S = 10.0
"""How long a broker may take to answer CONNECT and SUBSCRIBE."""
SUBSCRIBE_TRIES = 3
_GRANTED = (0, 1, 2)
UNSENT_MAX_BYTES = 2 * 1024
"""Bytes that may still be on their way into the network when the next bulk message is handed over."""


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """Where the broker is. `tls` is False only towards a loopback address under the demo and in tests."""

    host: str
    port: int
    tls: bool

    @classmethod
    def parse(cls, url: str, *, allow_cleartext: bool = False) -> BrokerAddress:
        """Return the address in `mqtts://host:port`.

        allow_cleartext  accepts `mqtt://` too, for a loopback host and no other: the demo and tests.
        raises           ConfigError naming what is wrong.
        """
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError:
            port = 0
        known = parts.scheme in ("mqtts", "mqtt") and parts.hostname
        if port == 0 or not known or not parts.hostname or parts.path.strip("/") or parts.username:
            raise ConfigError(f"broker = {url!r}  expected mqtts://HOST:PORT")
        if parts.scheme == "mqtts":
            return cls(parts.hostname, port or 8883, tls=True)
        if not allow_cleartext or not _is_loopback(parts.hostname):
            raise ConfigError(f"broker = {url!r}  clear text is refused; use mqtts:// with a client certificate")
        return cls(parts.hostname, port or 1883, tls=False)


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """The portal's authority, and this collector's certificate and its key, as PEM files. Read at each connection."""

    ca: Path
    certificate: Path
    key: Path

    def context(self) -> ssl.SSLContext:
        """Return a context that trusts this authority alone; raises NotConnected when a file cannot be used."""
        try:
            context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=str(self.ca))
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            context.load_cert_chain(self.certificate, self.key)
        except (OSError, ssl.SSLError) as error:
            raise NotConnected(
                f"TLS files {self.ca}, {self.certificate}, {self.key} cannot be used ({error}): enrol again"
            ) from None
        return context


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


class Connection:
    """A connection to the broker, driven by one thread which calls `pump`.

    on_message  gets (topic, payload) of every ack and command.
    raises      NotConnected from open, pump and publish, whatever the reason.
    """

    def __init__(
        self,
        address: BrokerAddress,
        collector: CollectorId,
        *,
        tls: TlsFiles | None,
        on_message: Callable[[str, bytes], None],
        keepalive_s: int = 60,
    ) -> None:
        if address.tls != (tls is not None):
            raise ConfigError("certificates and mqtts:// go together")
        self._address, self._collector, self._keepalive_s = address, collector, keepalive_s
        self._connected: str | None = None
        self._granted: dict[int | None, list[int]] = {}
        self._on_message = on_message
        client = Client(CallbackAPIVersion.VERSION2, client_id=str(collector), clean_session=False, protocol=MQTTv311)
        if tls is not None:
            client.tls_set_context(tls.context())
        client.will_set(state_topic(collector), _state("offline"), qos=1, retain=True)
        client.on_connect = self._took_connect
        client.on_subscribe = self._took_subscribe
        client.on_message = self._took_message
        client.connect_timeout = 5.0
        # The window is the sender's. With paho's own, an alarm would wait behind publishes without a PUBACK.
        client.max_inflight_messages_set(0)
        self._client = client

    def _took_connect(self, _c: Client, _u: Any, _f: Any, reason: Any, _p: Any) -> None:
        self._connected = "" if not reason.is_failure else str(reason)

    def _took_subscribe(self, _c: Client, _u: Any, mid: int, reasons: list[Any], _p: Any) -> None:
        self._granted[mid] = [reason.value for reason in reasons]

    def _took_message(self, _c: Client, _u: Any, message: MQTTMessage) -> None:
        self._on_message(message.topic, bytes(message.payload))

    def open(self) -> None:
        """Connect, subscribe to acks and commands, and say that this collector is online."""
        where = f"{self._address.host}:{self._address.port}"
        try:
            self._client.connect(self._address.host, self._address.port, keepalive=self._keepalive_s)
        except (OSError, ValueError) as error:
            raise NotConnected(f"the broker at {where} cannot be reached: {error}") from None
        self._keep_kernel_queue_small()
        self._await(lambda: self._connected is not None, f"the broker at {where} accepts and does not answer")
        if self._connected:
            raise NotConnected(f"the broker at {where} refused us: {self._connected}; is this collector enrolled?")
        self._subscribe()
        self.publish(state_topic(self._collector), _state("online"), retain=True)

    def _keep_kernel_queue_small(self) -> None:
        """What the kernel has taken cannot be overtaken any more."""
        link = self._client.socket()
        if isinstance(link, socket.socket) and hasattr(socket, "TCP_NOTSENT_LOWAT"):
            with contextlib.suppress(OSError):
                link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_MAX_BYTES)

    @property
    def unsent(self) -> bool:
        """Whether more than UNSENT_MAX_BYTES wait here or in the kernel, the other side not having taken them."""
        if self._client.want_write():
            return True
        link = self._client.socket()
        try:
            queued = fcntl.ioctl(link.fileno(), termios.TIOCOUTQ, bytes(4)) if link is not None else bytes(4)
        except OSError:  # no such question on this system: TCP_NOTSENT_LOWAT alone bounds the queue
            return False
        return bool(struct.unpack("i", queued)[0] > UNSENT_MAX_BYTES)

    def _subscribe(self) -> None:
        """Subscribe until both topics are granted: an ack that never comes would look like a slow portal."""
        topics = [(ack_topic(self._collector), 1), (command_topic(self._collector), 1)]
        for _ in range(SUBSCRIBE_TRIES):
            mid = self._client.subscribe(topics)[1]
            self._await(lambda mid=mid: mid in self._granted, "the broker does not answer SUBSCRIBE")  # type: ignore[misc]
            granted = self._granted.pop(mid)
            if len(granted) == len(topics) and all(code in _GRANTED for code in granted):
                return
        raise NotConnected(f"the broker does not let {self._collector} subscribe to its acks: check its access rules")

    def _await(self, done: Callable[[], bool], complaint: str) -> None:
        deadline = time.monotonic() + ANSWER_S
        while not done():
            if time.monotonic() > deadline:
                raise NotConnected(complaint)
            self.pump(0.1)

    def pump(self, timeout_s: float) -> None:
        """Move bytes for up to `timeout_s` of real time, returning as soon as something came."""
        code = self._client.loop(timeout_s)
        if code != MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise NotConnected(f"the connection to the broker ended: {code.name}")

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Hand a message over with QoS 1. That the broker took it means nothing; see uplink.py."""
        code = self._client.publish(topic, payload, qos=1, retain=retain).rc
        if code != MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise NotConnected(f"the connection to the broker ended: {MQTTErrorCode(code).name}")

    def close(self) -> None:
        """Say that this collector goes offline, as far as the connection still takes it, and disconnect."""
        if self._connected == "" and self._client.is_connected():
            self._client.publish(state_topic(self._collector), _state("offline"), qos=1, retain=True)
            self._client.loop(0.05)
        self.drop()

    def drop(self) -> None:
        """Disconnect without a word."""
        self._client.disconnect()
        self._client.loop(0.0)


def _state(state: str) -> bytes:
    return json.dumps({"state": state}).encode()
