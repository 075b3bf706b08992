"""The way to the portal: the collector's keys, what turns items into signed bytes, and the uplink."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from domain.errors import ConfigError
from sync.batch import Batch
from sync.connection import BrokerAddress, TlsFiles
from sync.signing import SigningKey, VerifyKey, sign_batch
from sync.uplink import Uplink, UplinkPlan

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from buffer.model import SealRequest
    from buffer.store import Store
    from domain.clock import Clock
    from gateway.commit import Committed
    from gateway.config import GatewayConfig, PortalConfig
    from sync.resends import Span
    from sync.signing import Command

DRAIN_LOOK_REAL_S = 0.1
CONNECT_REAL_S = 2.0


class Sending:
    """What an enrolled collector sends with. `connect` gives it the store, `start` the network."""

    def __init__(self, config: GatewayConfig, portal: PortalConfig, key: SigningKey, portal_key: VerifyKey) -> None:
        self.portal, self._config, self._key, self._portal_key = portal, config, key, portal_key
        self._unsealed = 0
        self._store: Store
        self._uplink: Uplink

    @classmethod
    def load(cls, config: GatewayConfig) -> Self | None:
        """Return what [portal] says, None before enrolment. raises ConfigError when a key file is no key."""
        portal = config.portal
        if portal is None:
            return None
        faults, keys = [], []
        for name, path, read in (
            ("signing_key", portal.signing_key, SigningKey.from_pem),
            ("portal_key", portal.portal_key, VerifyKey.from_pem),
        ):
            try:
                keys.append(read(path.read_bytes()))
            except OSError as error:
                faults.append(f'portal.{name} = "{path}"   {error.strerror}')
            except ConfigError as error:
                faults.append(f'portal.{name} = "{path}"   {error}')
        if faults:
            raise ConfigError(faults)
        signing_key, portal_key = keys
        assert isinstance(signing_key, SigningKey)
        assert isinstance(portal_key, VerifyKey)
        return cls(config, portal, signing_key, portal_key)

    def encode(self, request: SealRequest) -> bytes:
        """Return the signed bytes of what is to become a batch."""
        batch = Batch(
            id=request.batch_id,
            previous_hash=request.previous_hash,
            sealed_at=request.sealed_at,
            reads=request.reads,
            events=request.events,
            previous_epoch=request.previous_epoch,
            beside=request.beside,
        )
        return sign_batch(batch, self._key)

    def connect(self, store: Store, *, clock: Clock, on_command: Callable[[Command], None]) -> None:
        """Make the uplink over a store. It seals by itself: alarms at once, the rest at its interval."""
        portal = self.portal
        tls = None
        if portal.address[2] and portal.ca and portal.certificate and portal.key:
            tls = TlsFiles(portal.ca, portal.certificate, portal.key)
        self._store = store
        self._uplink = Uplink(
            store,
            collector=self._config.collector.id,
            # The configuration lets clear text pass to this machine itself and nowhere else.
            address=BrokerAddress.parse(portal.broker, allow_cleartext=True),
            tls=tls,
            encode=self.encode,
            keys=self._key_of,
            clock=clock,
            plan=UplinkPlan(
                seal_every_s=portal.seal_every_s,
                max_items=portal.batch_max_reads,
                upload_bytes_per_s_max=portal.upload_bytes_per_s_max,
            ),
            on_command=on_command,
        )

    def _key_of(self, key_id: bytes) -> VerifyKey | None:
        return self._portal_key if key_id == self._portal_key.key_id else None

    def resend(self, span: Span) -> str:
        """Publish batches again that the portal asks for; returns why not. From within `on_command` only."""
        return self._uplink.sender.resend(span)

    def start(self) -> None:
        """Start connecting; the broker may be away."""
        self._uplink.start()

    def committed(self, what: Committed) -> None:
        """Take note of what became durable: a full batch does not wait for its interval."""
        self._unsealed += len(what.reads)
        if self._unsealed >= self.portal.batch_max_reads:
            self._unsealed = 0
            self._uplink.wake()

    def hurry(self) -> None:
        """Seal and send what there is, without waiting for its interval."""
        self._uplink.hurry()

    @property
    def acknowledged(self) -> bool:
        """Whether the portal acknowledged a batch since the start."""
        return self._uplink.status().committed > 0

    def stop(self, *, drain_real_s: float) -> None:
        """Send what waits, for a moment, and hardly any when there is no broker; then disconnect."""
        began_real_s = time.monotonic()
        self._uplink.hurry()
        while (waited_s := time.monotonic() - began_real_s) < drain_real_s and self._store.status().backlog_items:
            if not self._uplink.status().connected and waited_s > CONNECT_REAL_S:
                break
            self._uplink.wake()
            time.sleep(DRAIN_LOOK_REAL_S)
        self._uplink.stop()

    def link_minutes(self, items: int) -> float | None:
        """Return how many minutes of link a backlog needs at the bound or the measured speed; None until known."""
        minutes = self._uplink.status().link_minutes(items)
        return None if minutes is None else round(minutes, 1)

    def describe(self) -> dict[str, Any]:
        """Return the connection as the status shows it."""
        status = self._uplink.status()
        return {
            "state": "connected" if status.connected else "offline",
            "message": status.last_error,
            "broker": self.portal.broker,
            "in_flight": self._uplink.in_flight,
            "connections": status.connections,
            "published": status.published,
            "resent": status.resent,
            "requested": status.requested,
            "committed": status.committed,
            "rejected": status.rejected,
            "upload_bytes_per_s_max": status.upload_bytes_per_s_max,
            "bytes_per_s": round(status.bytes_per_s, 1),
            "bytes_per_item": round(status.bytes_per_item, 2),
            "last_ack_at": status.last_ack_at.isoformat() if status.last_ack_at else None,
        }
