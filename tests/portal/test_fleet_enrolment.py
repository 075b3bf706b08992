"""Enrolment: a one-time code, a TLS key in a signed request, a signing key with a proof; and revocation."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from portal.core.errors import Refused
from portal.core.models import AuditEntry
from portal.fleet import services as fleet
from portal.fleet.ca import CertificateAuthority
from portal.fleet.errors import EnrolmentRefused
from portal.fleet.models import Certificate, Collector, CollectorKey, EnrolmentCode
from sync.signing import Algorithm, SigningKey, VerifyKey
from tests.portal.building import collector_row, csr, enrolled

pytestmark = pytest.mark.django_db


def attempt(
    code: str, *, request: bytes | None = None, key: SigningKey | None = None, **changed: object
) -> fleet.Enrolment:
    request, key = request or csr("whatever")[0], key or SigningKey.generate()
    values = {
        "code": code,
        "csr_pem": request,
        "alg": key.alg.name,
        "public_key": key.verify_key.public,
        "proof": key.sign(fleet.proof_message(code, request)),
    }
    return fleet.enrol(**{**values, **changed})  # type: ignore[arg-type]


@pytest.mark.parametrize("alg", list(Algorithm))
def test_a_new_collector_gets_everything_it_needs(alg: Algorithm, portal_dir) -> None:
    code, _ = fleet.make_enrolment_code("hw-elm-1")
    key = SigningKey.generate(alg)
    done = attempt(code, key=key)
    certificate = x509.load_pem_x509_certificate(done.certificate.encode())
    authority = x509.load_pem_x509_certificate(done.ca.encode())
    certificate.verify_directly_issued_by(authority)
    # The name is the portal's to give, whatever the request says.
    assert certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == "hw-elm-1"
    portal_key = VerifyKey.from_pem(done.portal_key.encode())
    assert portal_key == fleet.portal_signing_key(str(portal_dir)).verify_key
    assert (done.collector, done.broker) == ("hw-elm-1", "mqtts://127.0.0.1:8883")
    row = CollectorKey.objects.get()
    assert (row.kid, row.alg, bytes(row.public_key)) == (key.key_id.hex(), alg.name, key.verify_key.public)
    assert Certificate.objects.get().common_name == "hw-elm-1"
    assert list(AuditEntry.objects.values_list("action", flat=True)) == ["enrolment.code", "collector.enrol"]
    assert code not in str(list(AuditEntry.objects.values())) + str(list(EnrolmentCode.objects.values()))


def test_a_code_is_good_once_and_forgives_how_it_is_typed() -> None:
    code, _ = fleet.make_enrolment_code("hw-elm-1")
    attempt(code.upper().replace("-", " "))
    with pytest.raises(EnrolmentRefused) as refused:
        attempt(code)
    assert refused.value.code == "code"


def test_an_expired_or_unknown_code_enrols_nobody() -> None:
    code, row = fleet.make_enrolment_code("hw-elm-1")
    EnrolmentCode.objects.filter(pk=row.pk).update(expires_at=datetime.now(UTC) - timedelta(seconds=1))
    for text in (code, "hwc-2222-2222-2222-2222", ""):
        with pytest.raises(EnrolmentRefused):
            attempt(text)
    assert Collector.objects.get().enrolled_at is None


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"proof": bytes(64)}, "proof"),
        ({"proof": b""}, "proof"),
        ({"public_key": bytes(31)}, "signing-key"),
        ({"alg": "RS256"}, "signing-key"),
        ({"csr_pem": b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n"}, "csr"),
        ({"csr_pem": b""}, "csr"),
    ],
)
def test_a_faulty_request_does_not_use_up_the_code(changed: dict[str, object], reason: str) -> None:
    code, _ = fleet.make_enrolment_code("hw-elm-1")
    with pytest.raises(EnrolmentRefused) as refused:
        attempt(code, **changed)
    assert refused.value.code == reason
    attempt(code)


def test_the_proof_covers_code_and_request() -> None:
    first, _ = fleet.make_enrolment_code("hw-elm-1")
    second, _ = fleet.make_enrolment_code("hw-elm-2")
    request, key = csr("x")[0], SigningKey.generate()
    proof = key.sign(fleet.proof_message(first, request))
    for code, other in ((second, request), (first, csr("y")[0])):
        with pytest.raises(EnrolmentRefused):
            attempt(code, request=other, key=key, proof=proof)


def test_a_request_with_a_spoilt_signature_or_another_sort_of_key() -> None:
    from cryptography.hazmat.primitives import hashes, serialization

    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")])
    other = x509.CertificateSigningRequestBuilder().subject_name(name)
    for key in (rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP384R1())):
        request = other.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        code, _ = fleet.make_enrolment_code("hw-elm-1")
        with pytest.raises(EnrolmentRefused):
            attempt(code, request=request)
    der = other.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()).public_bytes(serialization.Encoding.DER)
    spoilt = x509.load_der_x509_csr(der[:-1] + bytes((der[-1] ^ 1,)))
    with pytest.raises(EnrolmentRefused):
        attempt(code, request=spoilt.public_bytes(serialization.Encoding.PEM))


def test_a_signing_key_belongs_to_one_collector() -> None:
    key = SigningKey.generate()
    attempt(fleet.make_enrolment_code("hw-elm-1")[0], key=key)
    attempt(fleet.make_enrolment_code("hw-elm-1")[0], key=key)  # the same box again, with a new certificate
    with pytest.raises(EnrolmentRefused):
        attempt(fleet.make_enrolment_code("hw-elm-2")[0], key=key)
    assert CollectorKey.objects.count() == 1


@pytest.mark.parametrize("name", ["portal-ingest", "x", "UPPER", "a/b", "a" * 33, "*", "#"])
def test_names_that_no_collector_may_have(name: str) -> None:
    with pytest.raises(Refused):
        fleet.make_enrolment_code(name)


def test_a_revoked_collector_stays_out() -> None:
    box = enrolled("hw-elm-1")
    spare, _ = fleet.make_enrolment_code("hw-elm-1")
    fleet.revoke_collector(collector_row(box), reason="stolen from the riser")
    for refused in (lambda: attempt(spare), lambda: fleet.make_enrolment_code("hw-elm-1")):
        with pytest.raises(Refused):
            refused()
    assert not CollectorKey.objects.filter(revoked_at__isnull=True).exists()
    assert not Certificate.objects.filter(revoked_at__isnull=True).exists()
    assert AuditEntry.objects.latest("pk").reason == "stolen from the riser"


def test_private_keys_are_private(portal_dir) -> None:
    files = [file for file in portal_dir.rglob("*") if file.is_file() and file.suffix in (".key", ".pem")]
    assert len(files) >= 7
    assert {oct(file.stat().st_mode & 0o777) for file in files} == {"0o600"}


def test_keys_are_made_once(portal_dir) -> None:
    before = {file: file.read_bytes() for file in portal_dir.rglob("*") if file.is_file()}
    fleet.ensure_keys(portal_dir, broker_url="mqtts://127.0.0.1:8883")
    assert {file: file.read_bytes() for file in portal_dir.rglob("*") if file.is_file()} == before


def test_another_broker_name_makes_another_server_certificate(tmp_path) -> None:
    fleet.ensure_keys(tmp_path, broker_url="mqtts://127.0.0.1:8883")
    authority = (tmp_path / "ca" / "ca.pem").read_bytes()
    fleet.ensure_keys(tmp_path, broker_url="mqtts://broker.example.org:8883")
    certificate = x509.load_pem_x509_certificate((tmp_path / "broker" / "server.pem").read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "broker.example.org" in names.get_values_for_type(x509.DNSName)
    assert (tmp_path / "ca" / "ca.pem").read_bytes() == authority


def test_a_revocation_list_names_the_revoked(tmp_path) -> None:
    authority = CertificateAuthority.ensure(tmp_path)
    issued = authority.issue_client("portal-ingest")
    pem = authority.revocation_list([(issued.certificate.serial_number, datetime.now(UTC))])
    crl = x509.load_pem_x509_crl(pem)
    assert crl.is_signature_valid(authority.certificate.public_key())  # type: ignore[arg-type]
    assert crl.get_revoked_certificate_by_serial_number(issued.certificate.serial_number) is not None
