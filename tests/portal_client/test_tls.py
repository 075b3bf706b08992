"""TLS: the given authority is trusted and no other, a certificate for another name is refused."""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from portal_client.client import PortalClient
from portal_client.errors import PortalError
from tests.portal_client.test_client import ME


def _authority(folder: Path, name: str) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / f"{name}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return certificate, key


@pytest.fixture
def server(tmp_path: Path) -> Iterator[int]:
    """A TLS server at 127.0.0.1 whose authority is good.pem; evil.pem is another one."""
    authority, authority_key = _authority(tmp_path, "good")
    _authority(tmp_path, "evil")
    key = ec.generate_private_key(ec.SECP256R1())
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "portal")]))
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    chain = tmp_path / "server.pem"
    chain.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            data = json.dumps(ME).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Quiet(HTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            pass

        def get_request(self) -> tuple[ssl.SSLSocket, tuple[str, int]]:
            connection, address = self.socket.accept()
            connection.settimeout(5)
            return context.wrap_socket(connection, server_side=True), address

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    made = Quiet(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=made.serve_forever, args=(0.01,))
    thread.start()
    yield made.server_port
    made.shutdown()
    thread.join()
    made.server_close()


def test_the_given_authority_is_trusted(server: int, tmp_path: Path) -> None:
    assert PortalClient(f"https://127.0.0.1:{server}", ca=tmp_path / "good.pem").me().id == "u1"


@pytest.mark.filterwarnings("ignore:unclosed.*ssl.SSLSocket:ResourceWarning")
def test_another_authority_is_not(server: int, tmp_path: Path) -> None:
    with pytest.raises(PortalError, match=r"cannot be trusted.*--ca FILE"):
        PortalClient(f"https://127.0.0.1:{server}", ca=tmp_path / "evil.pem").me()


@pytest.mark.filterwarnings("ignore:unclosed.*ssl.SSLSocket:ResourceWarning")
def test_a_certificate_for_another_name_is_refused(server: int, tmp_path: Path) -> None:
    with pytest.raises(PortalError, match="cannot be trusted"):
        PortalClient(f"https://localhost:{server}", ca=tmp_path / "good.pem").me()
