"""The published vectors open to what they say, and their signatures hold without any of our code."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import cbor2
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from domain.ids import CollectorId
from sync.batch import decode_payload, encode_payload
from sync.errors import REASONS
from sync.signing import Algorithm, VerifyKey, open_ack, open_batch, open_command, sign
from tests.sync.make_vectors import FOLDER, as_json, example_batch, signing_key

VECTORS = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}


def keys_of(vector: dict[str, Any]) -> dict[bytes, VerifyKey]:
    key = VerifyKey(Algorithm(vector["alg"]), bytes.fromhex(vector["public_key"]))
    assert key.key_id.hex() == vector["kid"]
    return {key.key_id: key}


def test_they_are_all_here() -> None:
    assert set(VECTORS) == {
        "batch-eddsa",
        "batch-eddsa-without-beside",
        "batch-es256",
        "ack-committed",
        "ack-rejected",
        "command",
    }


@pytest.mark.parametrize("name", VECTORS)
def test_the_signature_by_the_rfc_alone(name: str) -> None:
    """RFC 9052, section 4.4, with cbor2 and cryptography and nothing of ours."""
    vector = VECTORS[name]
    message = cbor2.loads(bytes.fromhex(vector["signed"]))
    assert message.tag == 18
    protected, unprotected, payload, signature = message.value
    assert cbor2.loads(protected) == {1: vector["alg"], 4: bytes.fromhex(vector["kid"])}
    assert unprotected == {}
    aad = cbor2.dumps([vector["label"], vector["collector"]])
    to_be_signed = cbor2.dumps(["Signature1", protected, aad, payload])
    assert (aad.hex(), to_be_signed.hex()) == (vector["external_aad"], vector["to_be_signed"])
    assert (payload.hex(), signature.hex()) == (vector["payload"], vector["signature"])
    public = bytes.fromhex(vector["public_key"])
    if vector["alg"] == -8:
        ed25519.Ed25519PublicKey.from_public_bytes(public).verify(signature, to_be_signed)
    else:
        r, s = (int.from_bytes(half, "big") for half in (signature[:32], signature[32:]))
        point = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), public)
        point.verify(encode_dss_signature(r, s), to_be_signed, ec.ECDSA(hashes.SHA256()))


@pytest.mark.parametrize("name", [name for name in VECTORS if name.startswith("batch")])
def test_batches_open_to_what_they_say(name: str) -> None:
    vector = VECTORS[name]
    collector = CollectorId(vector["collector"])
    batch = open_batch(bytes.fromhex(vector["signed"]), collector=collector, keys=keys_of(vector).get)
    # The vector of a collector that did not know `beside` says nothing of it.
    assert as_json(batch) == {"beside": 0} | vector["contents"]
    assert batch == replace(example_batch(), beside=vector["contents"].get("beside", 0))
    assert decode_payload(encode_payload(batch)) == batch
    stored = cbor2.dumps([1, 0, bytes.fromhex(vector["plain"])])
    assert decode_payload(stored) == batch


def test_eddsa_signs_the_same_bytes_again() -> None:
    vector = VECTORS["batch-eddsa"]
    payload, collector = bytes.fromhex(vector["payload"]), CollectorId(vector["collector"])
    again = sign(payload, label=vector["label"], collector=collector, key=signing_key(Algorithm.EDDSA))
    assert again.hex() == vector["signed"]


@pytest.mark.parametrize("name", ["ack-committed", "ack-rejected"])
def test_acks_open_to_what_they_say(name: str) -> None:
    vector, said = VECTORS[name], VECTORS[name]["contents"]
    collector = CollectorId(vector["collector"])
    ack = open_ack(bytes.fromhex(vector["signed"]), collector=collector, keys=keys_of(vector).get)
    assert (ack.batch_id.epoch.hex(), ack.batch_id.sequence, ack.committed) == (
        said["epoch"],
        said["sequence"],
        said["committed"],
    )
    assert (ack.batch_hash.hex(), ack.reason_code) == (said["batch_hash"], said["reason_code"])
    assert ack.acked_at.isoformat() == said["acked_at"]


def test_the_command_opens_to_what_it_says() -> None:
    vector, said = VECTORS["command"], VECTORS["command"]["contents"]
    command = open_command(
        bytes.fromhex(vector["signed"]),
        collector=CollectorId(vector["collector"]),
        keys=keys_of(vector).get,
        now=datetime.fromisoformat(said["issued_at"]),
        longest=timedelta(days=7),
    )
    assert (command.nonce.hex(), command.kind, dict(command.body)) == (said["nonce"], said["kind"], said["body"])


def test_every_reason_code_is_documented() -> None:
    page = (FOLDER.parent / "wire-format.md").read_text()
    for code, meaning in REASONS.items():
        assert f"| `{code}` | {meaning} |" in page
