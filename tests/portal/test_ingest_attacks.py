"""Attacks on the running ingest through a real broker: bombs, depths, counts and sizes; its memory stays bounded."""

from __future__ import annotations

import sys
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import cbor2
import pytest

from sync import signing
from sync.compression import DEFLATE, STORED
from tests.broker import mosquitto
from tests.portal.boxes import Box, enrol
from tests.portal.processes import Portal, until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.skipif(mosquitto() is None, reason="required-mosquitto: no mosquitto found"),
    pytest.mark.xdist_group("portal-processes"),
]
GROWTH_MAX_MIB = 96
"""The quota of one collector, a decoder's work space, and what Python does not give back."""


@pytest.fixture
def portal(tmp_path: Path) -> Iterator[Portal]:
    portal = Portal(tmp_path)
    yield portal
    portal.stop()
    print(portal.log("ingest")[-4000:] if (tmp_path / "ingest.log").exists() else "", file=sys.stderr)


def peak_mib(pid: int) -> float:
    """The most memory that a process ever held."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    raise AssertionError("no VmHWM")


def squeezed(plain: bytes) -> bytes:
    machine = zlib.compressobj(9, zlib.DEFLATED, -15)
    return machine.compress(plain) + machine.flush()


def plain_batch(box: Box, **more: object) -> bytes:
    keys = {int(name[1:]): value for name, value in more.items()}
    return cbor2.dumps({0: str(box.name), 1: box.box.epoch, 2: 0, 3: 1, **keys}, canonical=True)


def signed(box: Box, tag: int, data: bytes) -> bytes:
    payload = cbor2.dumps([1, tag, data], canonical=True)
    return signing.sign(payload, label=signing.BATCH, collector=box.name, key=box.box.key)


def attacks(box: Box) -> dict[str, bytes]:
    deep = b"\x81" * 500_000 + b"\x00"
    return {
        "a quarter of a gigabyte of zeros": signed(box, DEFLATE, squeezed(bytes(1 << 28))),
        "a bomb in the reads": signed(box, DEFLATE, squeezed(plain_batch(box, _9=[0] * 5_000_000))),
        "lists in lists": signed(box, STORED, deep),
        "lists in lists, squeezed": signed(box, DEFLATE, squeezed(b"\x81" * 3_900_000 + b"\x00")),
        "a list that says it is endless": signed(box, STORED, b"\x9b" + b"\xff" * 8),
        "a text that says it is endless": signed(box, STORED, b"\x7b" + b"\xff" * 8),
        "a map of a million keys": signed(
            box, DEFLATE, squeezed(cbor2.dumps({n: 0 for n in range(600_000)}, canonical=True))
        ),
        "a number of a megabyte": signed(box, STORED, b"\xc2\x5a\x00\x0d\xbb\xa0" + b"\xff" * 900_000),
        "a megabyte and one": b"\xd2\x84" + bytes(1024 * 1024),
        "nothing": b"",
    }


def test_no_message_stops_ingest_or_fills_its_memory(portal: Portal) -> None:
    hostile, other = enrol(portal, "hw-hostile-1", "hw-elm-1")
    portal.start_broker("mosquitto")
    hostile.connect()
    other.connect()
    ingest = portal.start("ingest", "--json")
    until(lambda: "ingest ready" in portal.log("ingest"), "ingest is subscribed")
    first = other.seal(0)
    other.publish(first)
    until(lambda: other.committed(first), "it works")
    before_mib = peak_mib(ingest.pid)
    bad = attacks(hostile)
    for number, data in enumerate(bad.values()):
        hostile.publish(data)
        good = other.seal(5 + 5 * number)
        other.publish(good)
        until(lambda good=good: other.committed(good), "the others are served")
    for _ in range(60):  # 60 MB within moments: more than may be in hand
        hostile.publish(bad["a megabyte and one"])
    last = hostile.seal(0)
    until(lambda: publish_and_look(hostile, last), "the hostile one's own good batch is taken in the end")
    grown_mib = peak_mib(ingest.pid) - before_mib
    assert ingest.poll() is None
    assert grown_mib < GROWTH_MAX_MIB, f"ingest grew by {grown_mib:.0f} MiB"
    reasons = portal.python(
        "from portal.metering.models import RefusedBatch\n"
        "print(sorted(RefusedBatch.objects.values_list('reason', flat=True).distinct()))"
    )
    assert "fault" not in reasons, reasons
    assert "oversized" in reasons
    # The broker drops what is larger than any batch, and the client with it; the others go on.
    hostile.publish(bytes(10 * 1024 * 1024))
    good = other.seal(500)
    other.publish(good)
    until(lambda: other.committed(good), "the others are served")
    assert peak_mib(ingest.pid) - before_mib < GROWTH_MAX_MIB


def publish_and_look(box: Box, data: bytes) -> bool:
    """Publish once more, as a collector without an ack does, and tell whether the ack has come."""
    if not box.committed(data):
        box.publish(data)
    return bool(box.committed(data))
