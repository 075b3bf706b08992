"""Real brokers for tests: NATS with its MQTT listener, or Mosquitto where it is installed, on free loopback ports.

with Broker.nats(tmp_path) as broker:            # clear text on loopback
with Broker.nats(tmp_path, pki=pki) as broker:   # mutual TLS; pki = Pki.make(tmp_path, "elm-1", "ingest-1")
    broker.url ; broker.kill() ; broker.start() ; broker.freeze() ; broker.thaw()
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from headwater.demo.processes import free_port as free_port

if TYPE_CHECKING:
    from typing import Self

    from paho.mqtt.client import Client

START_S = 60.0


def leave(client: Client) -> None:
    """Disconnect and wait for the client's thread; paho's own wait fails when that ends between two of its lines."""
    client.disconnect()
    with contextlib.suppress(AttributeError):
        client.loop_stop()


def nats_server() -> str | None:
    """Return the nats-server beside this Python, or on PATH."""
    beside = Path(sys.executable).parent / "nats-server"
    return str(beside) if beside.exists() else shutil.which("nats-server")


def mosquitto() -> str | None:
    """Return mosquitto from PATH or its usual place."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")


@dataclass(frozen=True)
class Pki:
    """A throw-away authority with one server certificate and a client certificate for each name."""

    folder: Path

    @property
    def ca(self) -> Path:
        return self.folder / "ca.pem"

    def certificate(self, name: str) -> Path:
        return self.folder / f"{name}.pem"

    def key(self, name: str) -> Path:
        return self.folder / f"{name}.key"

    @classmethod
    def make(cls, folder: Path, *names: str) -> Pki:
        """Write an authority, `server` (for localhost and 127.0.0.1) and the named clients as PEM files."""
        folder.mkdir(parents=True, exist_ok=True)
        pki = cls(folder)
        ca_key = ec.generate_private_key(ec.SECP256R1())
        ca = _certificate("test authority", ca_key.public_key(), issuer=None, issuer_key=ca_key)
        pki.ca.write_bytes(ca.public_bytes(serialization.Encoding.PEM))
        for name in ("server", *names):
            key = ec.generate_private_key(ec.SECP256R1())
            certificate = _certificate(name, key.public_key(), issuer=ca, issuer_key=ca_key)
            pki.certificate(name).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
            pki.key(name).write_bytes(
                key.private_bytes(
                    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
                )
            )
        return pki


def _certificate(
    name: str,
    public: ec.EllipticCurvePublicKey,
    *,
    issuer: x509.Certificate | None,
    issuer_key: ec.EllipticCurvePrivateKey,
) -> x509.Certificate:
    now = datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.subject)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=2))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    if issuer is None:
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        builder = builder.add_extension(usage, critical=True)
    elif name == "server":
        names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))])
        builder = builder.add_extension(names, critical=False)
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    else:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


class Broker:
    """A broker process of ours; killed by its own id."""

    def __init__(self, command: list[str], *, port: int, tls: bool, log: Path) -> None:
        self.port, self.tls, self._command, self._log = port, tls, command, log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The address as a collector's configuration has it."""
        return f"{'mqtts' if self.tls else 'mqtt'}://127.0.0.1:{self.port}"

    @classmethod
    def nats(cls, folder: Path, *, pki: Pki | None = None, port: int | None = None, extra: str = "") -> Broker:
        """Return a NATS broker, not yet started.

        extra  more lines of its configuration (accounts, authorisation).
        """
        program = nats_server()
        assert program is not None, "nats-server is missing: make setup installs it"
        folder.mkdir(parents=True, exist_ok=True)
        port = port or free_port()
        tls = ""
        if pki is not None:
            tls = f"""tls {{ cert_file: "{pki.certificate("server")}", key_file: "{pki.key("server")}",
                ca_file: "{pki.ca}", verify: true }}"""
        configuration = folder / "nats.conf"
        configuration.write_text(
            f"""server_name: test
            listen: "127.0.0.1:{free_port()}"
            jetstream {{ store_dir: "{folder / "jetstream"}", max_memory_store: 64MB, max_file_store: 1GB }}
            mqtt {{ listen: "127.0.0.1:{port}", {tls} }}
            {extra}
            """
        )
        return cls([program, "-c", str(configuration)], port=port, tls=pki is not None, log=folder / "nats.log")

    @classmethod
    def mosquitto(cls, folder: Path, *, pki: Pki | None = None, port: int | None = None) -> Broker:
        """Return a Mosquitto broker, not yet started."""
        program = mosquitto()
        assert program is not None, "mosquitto is missing: apt-get install mosquitto"
        folder.mkdir(parents=True, exist_ok=True)
        port = port or free_port()
        lines = [
            f"listener {port} 127.0.0.1",
            "persistence true",
            f"persistence_location {folder}/",
            "set_tcp_nodelay true",
            "log_type all",
        ]
        if pki is None:
            lines.append("allow_anonymous true")
        else:
            lines += [f"cafile {pki.ca}", f"certfile {pki.certificate('server')}", f"keyfile {pki.key('server')}"]
            lines += ["require_certificate true", "use_identity_as_username true"]
        if os.geteuid() == 0:
            lines.append("user root")
        configuration = folder / "mosquitto.conf"
        configuration.write_text("\n".join(lines) + "\n")
        return cls([program, "-c", str(configuration)], port=port, tls=pki is not None, log=folder / "mosquitto.log")

    def start(self) -> Self:
        """Start, or start again on the same port with the same data; returns once it accepts connections."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise RuntimeError(f"the broker ended by itself:\n{self._log.read_text()[-2000:]}")
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return self
            time.sleep(0.02)
        raise RuntimeError(f"the broker did not listen within {START_S} s:\n{self._log.read_text()[-2000:]}")

    def _signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def freeze(self) -> None:
        """Stop its answers without closing anything: a dead link."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL, as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """Stop it for good."""
        if self._process is not None:
            self.thaw()
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
