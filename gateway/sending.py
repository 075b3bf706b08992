"""The way to the portal: the collector's keys, what turns items into signed bytes, and the uplink."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from domain.errors import ConfigError
from sync.batch import Batch
from sync.signing import SigningKey, VerifyKey, sign_batch

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from buffer.model import SealRequest
    from buffer.store import Store
    from domain.clock import Clock
    from gateway.config import GatewayConfig, PortalConfig


class Sending:
    """What an enrolled collector sends with. `connect` gives it the store, `start` the network."""

    def __init__(self, config: GatewayConfig, portal: PortalConfig, key: SigningKey, portal_key: VerifyKey) -> None:
        self.portal, self._config, self._key, self._portal_key = portal, config, key, portal_key
        self._uplink: Any = None

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
        )
        return sign_batch(batch, self._key)

    def connect(self, store: Store, *, clock: Clock, on_ack: Callable[[], None]) -> None:
        """Make the uplink over a store; `on_ack` is called after each acknowledged batch."""

    def start(self) -> None:
        """Start connecting."""

    def stop(self, *, drain_real_s: float) -> None:
        """Send for a moment more, then disconnect."""

    def wake(self) -> None:
        """Say that something new was sealed."""

    def describe(self) -> dict[str, Any]:
        """Return the connection as the status shows it."""
        return {"state": "offline", "message": ""}
