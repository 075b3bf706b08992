"""Our own M-Bus frames: each is decoded or refused, and read over a link, as its sidecar says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from domain.ids import MeterId
from drivers import errors
from drivers.base import Deadline, MeterTarget
from drivers.mbus import MBusDriver
from drivers.mbus_telegram import decode_telegram
from tests.drivers.support import ScriptedLink

FRAMES = sorted((Path(__file__).parents[1] / "frames" / "mbus").glob("*.hex"))


def load(path: Path) -> tuple[bytes, dict[str, Any]]:
    return bytes.fromhex(path.read_text()), json.loads(path.with_suffix(".json").read_text("utf-8"))


def of_kind(*, good: bool) -> list[Any]:
    return [pytest.param(path, id=path.stem) for path in FRAMES if ("error" not in load(path)[1]) == good]


@pytest.mark.parametrize("path", of_kind(good=True))
def test_a_good_frame_has_the_values_of_its_sidecar(path: Path) -> None:
    frame, expected = load(path)
    telegram = decode_telegram(frame)
    assert telegram.header.identification == expected["identity"]
    assert telegram.header.manufacturer == expected["manufacturer"]
    assert telegram.header.medium == expected["medium"]
    assert [
        {
            "value": record.value_text(),
            "unit": record.unit,
            "quantity": record.quantity,
            "storage": record.storage,
            "tariff": record.tariff,
            "device": record.subunit,
            "function": record.function,
        }
        for record in telegram.records
    ] == expected["values"]


@pytest.mark.parametrize("path", [case for case in of_kind(good=True) if case.id != "first_of_two"])
def test_a_good_frame_gives_the_reads_of_its_sidecar(path: Path) -> None:
    frame, expected = load(path)
    link = ScriptedLink(lambda request: b"\xe5" if request[1] == 0x40 else frame)
    target = MeterTarget(MeterId("meter-1"), str(frame[5]))
    reply = MBusDriver().read(target, link, deadline=Deadline(link.clock, 10), clock=link.clock)
    assert [
        {
            "register_id": read.register.register_id,
            "count": read.raw_count,
            "unit": read.register.unit.value,
            "scale": read.register.scale,
            "modulus": read.register.modulus,
        }
        for read in reply.reads
    ] == expected["reads"]
    assert list(reply.alarms) == expected["alarms"]
    assert (reply.unexpected, reply.identity, reply.reply) == (False, expected["identity"], frame)
    assert all(read.read_at == link.last_byte_at[0] for read in reply.reads)


@pytest.mark.parametrize("path", of_kind(good=False))
def test_a_damaged_frame_is_refused_by_name(path: Path) -> None:
    frame, expected = load(path)
    with pytest.raises(errors.BadReply) as caught:
        decode_telegram(frame)
    assert type(caught.value).__name__ == expected["error"]
    assert caught.value.reply == frame
    if isinstance(caught.value, errors.ApplicationError):
        assert caught.value.name == expected["name"]


@pytest.mark.parametrize("path", of_kind(good=True))
def test_a_turned_bit_is_always_refused(path: Path) -> None:
    frame, _ = load(path)
    for bit in range(8 * len(frame)):
        turned = bytearray(frame)
        turned[bit // 8] ^= 1 << bit % 8
        with pytest.raises(errors.BadFrame):
            decode_telegram(bytes(turned))
