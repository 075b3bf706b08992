"""The collector's side against a real broker: enrolled, signs batches, publishes them, keeps the acks that come."""

from __future__ import annotations

import hashlib
import ssl
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from domain.ids import CollectorId
from sync import topics
from sync.signing import SigningKey, VerifyKey, batch_hash, open_ack, open_command
from tests.broker import leave
from tests.portal.processes import until

if TYPE_CHECKING:
    from collections.abc import Sequence

    from domain.reading import RegisterRead
    from sync.signing import Ack
    from tests.portal.processes import Portal

_ENROL = """
import sys
from pathlib import Path
from django.conf import settings
from portal.fleet.services import portal_signing_key
from tests.portal.building import enrolled
folder = Path(sys.argv[1])
for name in sys.argv[2:]:
    (folder / f"{name}.signing.pem").write_bytes(enrolled(name, folder=folder).key.pem())
print(portal_signing_key(str(settings.PORTAL_DIR)).verify_key.pem().decode())
"""


def enrol(portal: Portal, *names: str) -> list[Box]:
    """Enrol collectors; enrol before the broker starts: its rules are those of the collectors enrolled then."""
    key = VerifyKey.from_pem(portal.python(_ENROL, str(portal.folder), *names).encode())
    return [Box(portal, name, key) for name in names]


def name_in(partitions: Sequence[int], number: int = 0) -> str:
    """Return a collector's name that falls into one of some partitions."""
    names = (f"hw-box-{n}" for n in range(10_000))
    return [name for _, name in zip(range(4000), names, strict=False) if CollectorId(name).partition in partitions][
        number
    ]


class Box:
    """One enrolled collector with a client of its own.

    acks  (monotonic time of arrival, signed bytes) of every ack.
    """

    def __init__(self, portal: Portal, name: str, key: VerifyKey) -> None:
        from tests.portal import building

        self.name, self._key, self.portal = CollectorId(name), key, portal
        signing_key = SigningKey.load(portal.folder / f"{name}.signing.pem")
        self.box = building.Box(self.name, signing_key, epoch=hashlib.sha256(name.encode()).digest()[:16])
        self.register = building.total(f"EFE-{name}")
        self.acks: list[tuple[float, bytes]] = []
        self.commands: list[bytes] = []

    def connect(self, *, in_flight: int = 20) -> Box:
        """Connect and subscribe to acks and commands; `in_flight`: what may be published and not yet taken."""
        folder = self.portal.folder
        context = ssl.create_default_context(cafile=str(folder / "broker" / "ca.pem"))
        context.load_cert_chain(folder / f"{self.name}.pem", folder / f"{self.name}.key")
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=self.name, clean_session=False)
        self.client.max_inflight_messages_set(in_flight)
        self.client.tls_set_context(context)
        wanted = [(topics.ack_topic(self.name), 1), (topics.command_topic(self.name), 1)]
        self.client.on_connect = lambda client, *_: client.subscribe(wanted)
        subscribed: list[bool] = []
        self.client.on_subscribe = lambda *_: subscribed.append(True)
        self.client.on_message = lambda c, d, message: self._took(message)
        until(self._connects, "the broker listens")
        self.client.loop_start()
        until(lambda: subscribed, "the collector is subscribed")
        return self

    def _connects(self) -> bool:
        try:
            self.client.connect("127.0.0.1", self.portal.broker_port)
        except OSError:
            return False
        return True

    def _took(self, message: mqtt.MQTTMessage) -> None:
        if message.topic == topics.ack_topic(self.name):
            self.acks.append((time.monotonic(), bytes(message.payload)))
        else:
            self.commands.append(bytes(message.payload))

    def close(self) -> None:
        """Disconnect."""
        leave(self.client)

    def reads(self, first: int, count: int = 5) -> list[RegisterRead]:
        """Return reads whose counts are their numbers."""
        from tests.portal.building import NOON, read

        return [read(self.register, first + n, NOON + timedelta(minutes=first + n)) for n in range(count)]

    def seal(self, first: int, count: int = 5) -> bytes:
        """Return the signed bytes of the next batch."""
        return self.box.sealed(self.reads(first, count))

    def publish(self, signed: bytes, topic: str | None = None) -> None:
        """Publish as the uplink does."""
        self.client.publish(topic or topics.batch_topic(self.name), signed, qos=1)

    def command_kinds(self) -> list[tuple[str, dict[str, object]]]:
        """Return kind and body of the commands that have come, verified and fresh."""
        longest = timedelta(days=7)
        opened = [
            open_command(data, collector=self.name, keys=lambda _: self._key, now=datetime.now(UTC), longest=longest)
            for data in list(self.commands)
        ]
        return [(command.kind, dict(command.body)) for command in opened]

    def opened(self) -> list[Ack]:
        """Return the acks that have come, verified."""
        return [open_ack(data, collector=self.name, keys=lambda _: self._key) for _, data in list(self.acks)]

    def committed(self, signed: bytes) -> int:
        """How many acks have come that say this very batch is committed."""
        return sum(ack.committed and ack.batch_hash == batch_hash(signed) for ack in self.opened())
