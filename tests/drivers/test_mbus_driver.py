"""The M-Bus driver on a line: whom it asks, in which order, and what it makes of silence, noise and strangers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from domain.clock import SystemClock
from domain.errors import ConfigError
from domain.ids import MeterId
from domain.reading import ReadQuality, Reason
from drivers.base import Deadline, MeterReply, MeterTarget
from drivers.errors import ApplicationError, BadChecksum, BadFrame, LinkDown, NoReply
from drivers.link import open_link
from drivers.mbus import MBusDriver
from drivers.mbus_frame import long_frame, short_frame
from tests.drivers.support import PtyMeter, ScriptedLink

FOLDER = Path(__file__).parents[1] / "frames" / "mbus"
ACK = b"\xe5"
RESET, ASK, ASK_AGAIN = short_frame(0x40, 5), short_frame(0x7B, 5), short_frame(0x5B, 5)


def frame(name: str) -> bytes:
    return bytes.fromhex((FOLDER / f"{name}.hex").read_text())


WATER = frame("water_bcd")


def answering(reply: bytes) -> Callable[[bytes], bytes]:
    return lambda request: ACK if request[1] == 0x40 else reply


def read(
    link: ScriptedLink, *, address: str = "5", meter_id: str = "meter-1", identity: str | None = None
) -> MeterReply:
    target = MeterTarget(MeterId(meter_id), address, identity=identity)
    return MBusDriver().read(target, link, deadline=Deadline(link.clock, 10), clock=link.clock)


def test_a_read_resets_the_frame_count_bit_and_asks_once() -> None:
    link = ScriptedLink(answering(WATER))
    assert read(link).reads[0].raw_count == 12345678
    assert link.sent == [RESET, ASK]


def test_a_meter_that_does_not_acknowledge_the_reset_is_asked_all_the_same() -> None:
    link = ScriptedLink(lambda request: b"" if request[1] == 0x40 else WATER)
    assert read(link).reads[0].raw_count == 12345678


def test_the_frame_count_bit_toggles_until_the_total_has_come() -> None:
    answers = {RESET: ACK, ASK: frame("first_of_two"), ASK_AGAIN: frame("second_of_two")}
    link = ScriptedLink(lambda request: answers[bytes((request[0], request[1], 5, (request[1] + 5) & 0xFF, 0x16))])
    reply = read(link)
    assert [r.raw_count for r in reply.reads] == [99999999]
    assert link.sent == [RESET, ASK, ASK_AGAIN]
    assert reply.reply == frame("first_of_two") + frame("second_of_two")


def test_a_meter_that_never_ends_is_cut_off() -> None:
    link = ScriptedLink(answering(frame("first_of_two")))
    with pytest.raises(BadFrame, match="more than 16"):
        read(link)


def test_a_secondary_address_selects_first() -> None:
    link = ScriptedLink(lambda request: ACK if request[0] == 0x68 or request[1] == 0x40 else WATER)
    assert read(link, address="s:1234567F").identity == "12345678"
    selection = long_frame(0x53, 253, 0x52, bytes.fromhex("7f563412ffffffff"))
    assert link.sent == [short_frame(0x40, 253), selection, short_frame(0x7B, 253)]


def test_a_full_secondary_address_names_maker_version_and_medium() -> None:
    link = ScriptedLink(lambda request: ACK if request[0] == 0x68 or request[1] == 0x40 else WATER)
    read(link, address="s:12345678D2F40116")
    assert link.sent[1][7:15] == bytes.fromhex("78563412" + "f4d2" + "01" + "16")


def test_nobody_selected_is_no_reply() -> None:
    with pytest.raises(NoReply, match="selection"):
        read(ScriptedLink(lambda _: b""), address="s:00000001")


def test_silence_costs_one_short_slot() -> None:
    link = ScriptedLink(lambda _: b"")
    with pytest.raises(NoReply, match="0 bytes seen") as caught:
        read(link)
    assert caught.value.meter_id == "meter-1"
    assert link.clock.monotonic() < 1.0


def test_a_babbling_line_is_left_in_time() -> None:
    link = ScriptedLink(lambda _: b"\x55" * 4000)
    with pytest.raises(NoReply):
        read(link)
    assert link.clock.monotonic() < 4.0


@pytest.mark.parametrize(
    "noise",
    [b"\x00", b"\xff\xfe", ACK, b"\x68", b"\x10", b"\x68\x05\x05\x68", b"\x68\x1f\x1f\x68\x08", b"\x10\x7b\x05"],
    ids=lambda noise: noise.hex(),
)
def test_noise_before_a_reply_is_passed_over(noise: bytes) -> None:
    assert read(ScriptedLink(answering(noise + WATER))).reads[0].raw_count == 12345678


def test_an_echo_of_the_request_is_passed_over() -> None:
    assert read(ScriptedLink(answering(WATER), echo=True)).reads[0].raw_count == 12345678


def test_an_echo_is_no_acknowledgement() -> None:
    link = ScriptedLink(lambda _: b"", echo=True)
    with pytest.raises(NoReply, match="selection"):
        read(link, address="s:000000E5")


def test_a_damaged_reply_is_refused_whole() -> None:
    with pytest.raises(BadChecksum):
        read(ScriptedLink(answering(frame("bad_checksum"))))
    for size in range(4, len(WATER)):
        with pytest.raises(BadFrame):
            read(ScriptedLink(answering(WATER[:size])))


def test_an_application_error_is_named() -> None:
    with pytest.raises(ApplicationError, match="too busy") as caught:
        read(ScriptedLink(answering(frame("application_busy"))))
    assert (caught.value.code, caught.value.meter_id) == (8, "meter-1")


@pytest.mark.parametrize(("meter_id", "identity"), [("HWT-12345678", None), ("x", "12345678"), ("x", None)])
def test_the_expected_meter_is_measured(meter_id: str, identity: str | None) -> None:
    reply = read(ScriptedLink(answering(WATER)), meter_id=meter_id, identity=identity)
    assert (reply.unexpected, reply.meter_id) == (False, meter_id)
    assert {(r.quality, r.reason) for r in reply.reads} == {(ReadQuality.MEASURED, Reason.NONE)}


@pytest.mark.parametrize(("meter_id", "identity"), [("HWT-12345679", None), ("ABC-12345678", None), ("x", "87654321")])
def test_another_meter_is_kept_under_its_own_identity(meter_id: str, identity: str | None) -> None:
    reply = read(ScriptedLink(answering(WATER)), meter_id=meter_id, identity=identity)
    assert (reply.unexpected, reply.meter_id) == (True, "HWT-12345678")
    assert {(r.quality, r.reason, r.register.meter_id) for r in reply.reads} == {
        (ReadQuality.SUSPECT, Reason.UNEXPECTED_METER, "HWT-12345678")
    }


def test_an_unknown_meter_at_another_address_is_unexpected() -> None:
    assert read(ScriptedLink(answering(WATER)), address="6").unexpected


@pytest.mark.parametrize("address", ["", "251", "-1", "s:123", "s:1234567X", "17 "])
def test_an_address_that_is_none_is_a_configuration_fault(address: str) -> None:
    with pytest.raises(ConfigError, match="M-Bus address"):
        read(ScriptedLink(lambda _: b""), address=address)


def test_scan_reports_every_address_and_can_be_left_at_any_time() -> None:
    link = ScriptedLink(lambda request: answering(WATER)(request) if request[2] == 5 else b"")
    results = []
    for result in MBusDriver().scan(link, clock=link.clock, first=3, last=250):
        results.append(result)
        if result.step == 4:
            break
    assert [(r.address, r.found) for r in results] == [("3", False), ("4", False), ("5", True), ("6", False)]
    assert (results[2].meter_id, results[2].steps) == ("HWT-12345678", 248)


def test_a_search_by_wildcards_finds_every_meter() -> None:
    identities = ("12345678", "12345679", "20000000", "9FFFFFF1")
    selected: list[str] = []

    def meters(request: bytes) -> bytes:
        if request[0] == 0x68:
            mask = request[7:11][::-1].hex().upper()
            selected[:] = [i for i in identities if all(m in ("F", d) for m, d in zip(mask, i, strict=True))]
            return ACK if selected else b""
        if request[1] == 0x40:
            return b""
        replies = [long_frame(8, 0, 0x72, bytes.fromhex(i)[::-1] + WATER[11:-2]) for i in selected]
        return replies[0] if len(replies) == 1 else bytes(a & b for a, b in zip(*replies[:2], strict=True))

    link = ScriptedLink(meters)
    found = [r.identity for r in MBusDriver().scan(link, clock=link.clock, secondary=True) if r.found]
    assert found == ["12345678", "12345679", "20000000", "9FFFFFF1"]


def test_a_read_over_a_pseudo_terminal_in_two_pieces() -> None:
    clock = SystemClock()

    def answer(request: bytes) -> tuple[bytes, ...]:
        return (ACK,) if request[1] == 0x40 else (b"\x00" + WATER[:11], WATER[11:])

    with PtyMeter(answer) as meter:
        link = open_link(kind="serial", port=meter.port, clock=clock)
        before = clock.now()
        target = MeterTarget(MeterId("HWT-12345678"), "5")
        driver = MBusDriver()
        seconds = driver.timeout_s(target, char_time_s=link.char_time_s)
        reply = driver.read(target, link, deadline=Deadline(clock, seconds), clock=clock)
        assert reply.reads[0].raw_count == 12345678
        assert before < reply.reads[0].read_at <= clock.now()
        meter.unplug()
        with pytest.raises(LinkDown):
            driver.read(target, link, deadline=Deadline(clock, seconds), clock=clock)
        link.close()
