"""M-Bus slaves against EN 13757-2 and EN 13757-3, byte by byte. Nothing here knows our driver."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from domain.units import Unit
from firmware_sim.dial import Dial, Mains, RegisterShape
from firmware_sim.faults import Faults
from firmware_sim.meters.mbus import Identity, MBusLine, MBusMeter, manufacturer_code, take_request
from firmware_sim.meters.mbus_records import LAYOUTS, date_only, date_time
from firmware_sim.wire import Answer, join
from tests.firmware_sim.conftest import MOMENT, Still

ACK = b"\xe5"


def short(control: int, address: int) -> bytes:
    return bytes((0x10, control, address, (control + address) % 256, 0x16))


def select(secondary: str, control: int = 0x53, ci: int = 0x52) -> bytes:
    body = bytes((control, 0xFD, ci)) + bytes.fromhex(secondary)
    return bytes((0x68, len(body), len(body), 0x68)) + body + bytes((sum(body) % 256, 0x16))


def meter(dial: Dial, *, digits: str = "12345678", address: int = 5, layout: str = "bcd-litres") -> MBusMeter:
    return MBusMeter(Identity(digits, "KAM"), address, dial, layout, Faults("test"))


def said(line: MBusLine, frame: bytes) -> list[bytes]:
    return [answer.data for answer in line.answers(frame, MOMENT)]


def one(line: MBusLine, frame: bytes) -> bytes:
    (answer,) = said(line, frame)
    return answer


@pytest.fixture
def line(dial: Dial) -> MBusLine:
    return MBusLine([meter(dial)], 2400)


def test_manufacturer_code_is_that_of_the_register() -> None:
    """KAM is 2C2Dh and ABB 0442h in the FLAG list of manufacturers."""
    assert manufacturer_code("KAM") == bytes.fromhex("2d2c")
    assert manufacturer_code("ABB") == bytes.fromhex("4204")


@pytest.mark.parametrize(
    ("moment", "type_f", "type_g"),
    [
        (MOMENT, "252b563b", "563b"),  # 2026-11-22 11:37, year 26 = 011 010b split over day and month
        (datetime(2026, 7, 4, 5, 0, tzinfo=UTC), "00a04437", "4437"),  # midnight of summer time
    ],
)
def test_dates_are_types_f_and_g(moment: datetime, type_f: str, type_g: str) -> None:
    assert (date_time(moment).hex(), date_only(moment).hex()) == (type_f, type_g)


def test_a_read_is_the_frame_of_the_standard(line: MBusLine) -> None:
    frame = one(line, short(0x7B, 5))
    access = frame[15]
    body = bytes.fromhex(
        "08 05 72"  # RSP_UD from address 5, long header
        "78563412 2d2c 01 07"  # 12345678, KAM, generation 1, water
        f"{access:02x} 00 0000"
        "0c78 78563412"  # fabrication number
        "046d 252b563b"  # date and time
        "0c13 45230100"  # volume, BCD8, 10^-3 m3
        "4c13 45230100"  # the same at the due date: storage 1
        "426c 413b"  # the due date, 2026-11-01
        "0b3b 000000"  # flow, BCD6, 10^-3 m3/h
        "02fd17 0000"  # error flags
    )
    assert frame == bytes((0x68, len(body), len(body), 0x68)) + body + bytes((sum(body) % 256, 0x16))


def test_a_binary_total_stands_behind_the_due_date(mains: Mains) -> None:
    dial = Dial(Still(), RegisterShape(Unit.CUBIC_METRE, -3, None), 0x01020304, mains)
    frame = one(MBusLine([meter(dial, layout="due-date-first")], 2400), short(0x7B, 5))
    assert frame[19:35] == bytes.fromhex("4413 04030201 426c 413b 0413 04030201")


def test_twelve_digits(mains: Mains) -> None:
    dial = Dial(Still(), RegisterShape(Unit.CUBIC_METRE, -3, 10**12), 123_456_789_012, mains)
    frame = one(MBusLine([meter(dial, layout="twelve-digits")], 2400), short(0x7B, 5))
    assert frame[19:27] == bytes.fromhex("0e13 129078563412")


def test_the_layouts_roll_over_where_their_records_do() -> None:
    assert {name: layout.modulus for name, layout in LAYOUTS.items()} == {
        "bcd-litres": 10**8,
        "due-date-first": None,
        "twelve-digits": 10**12,
        "two-telegrams": 10**8,
    }


def test_status_states_battery_and_fault(line: MBusLine) -> None:
    line.meters[0].faults.on |= {"low-battery"}
    assert one(line, short(0x7B, 5))[16] == 0x04
    line.meters[0].faults.on |= {"alarm"}
    assert one(line, short(0x5B, 5))[16] == 0x0C


class TestFrameCountBit:
    """EN 13757-2, 5.7.4: the same bit again means that the answer was lost."""

    def test_the_same_bit_repeats_the_answer(self, line: MBusLine) -> None:
        first = one(line, short(0x7B, 5))
        line.meters[0].dial.pulse(10)
        assert one(line, short(0x7B, 5)) == first

    def test_a_toggled_bit_brings_a_new_answer_and_access_number(self, line: MBusLine) -> None:
        first = one(line, short(0x7B, 5))
        line.meters[0].dial.pulse(10)
        second = one(line, short(0x5B, 5))
        assert (second[15] - first[15]) % 256 == 1
        assert second[33:37] == bytes.fromhex("55230100")

    def test_after_a_reset_any_bit_is_new(self, line: MBusLine) -> None:
        first = one(line, short(0x7B, 5))
        line.meters[0].dial.pulse(10)
        assert one(line, short(0x40, 5)) == ACK
        assert one(line, short(0x7B, 5)) != first

    def test_more_records_follow_on_the_toggled_bit(self, dial: Dial) -> None:
        line = MBusLine([meter(dial, layout="two-telegrams")], 2400)
        first = one(line, short(0x7B, 5))
        assert first[-3] == 0x1F
        assert one(line, short(0x7B, 5)) == first
        second = one(line, short(0x5B, 5))
        assert second[19:21] == bytes.fromhex("4c13")
        assert 0x1F not in second[-3:-2]
        assert one(line, short(0x7B, 5))[-3] == 0x1F

    def test_the_total_is_logged_for_the_telegram_that_carries_it(self, dial: Dial) -> None:
        line = MBusLine([meter(dial, layout="two-telegrams")], 2400)
        carried = [line.answers(short(control, 5), MOMENT)[0].counts for control in (0x7B, 0x5B)]
        assert carried == [(("total", 12_345),), ()]


class TestAddresses:
    """Primary, selected, test and broadcast addresses."""

    @pytest.fixture
    def pair(self, dial: Dial) -> MBusLine:
        return MBusLine([meter(dial), meter(dial, digits="12399999", address=9)], 2400)

    def test_only_the_addressed_meter_answers(self, pair: MBusLine) -> None:
        assert one(pair, short(0x40, 9)) == ACK
        assert said(pair, short(0x40, 6)) == []
        assert one(pair, short(0x7B, 9))[5] == 9

    def test_all_answer_the_test_address_and_none_the_broadcast(self, pair: MBusLine) -> None:
        assert said(pair, short(0x40, 254)) == [ACK, ACK]
        assert said(pair, short(0x40, 255)) == []
        assert len(said(pair, short(0x7B, 254))) == 2
        assert said(pair, short(0x7B, 255)) == []

    @pytest.mark.parametrize(
        ("secondary", "answers"),
        [
            ("78563412 2d2c 01 07", 1),
            ("78563412 ffff ff ff", 1),
            ("ffff3f12 ffff ff ff", 2),  # 123F FFFF
            ("ffffffff ffff ff ff", 2),
            ("ffffffff 4204 ff ff", 0),
            ("ffffffff ffff ff 06", 0),
            ("99993912 ffff ff ff", 1),
            ("78563412 ffff ff ff 0c78 78563412", 1),  # enhanced selection
            ("78563412 ffff ff ff 0c78 78563413", 0),
            ("78563412", 0),
        ],
    )
    def test_selection_by_secondary_address(self, pair: MBusLine, secondary: str, answers: int) -> None:
        assert said(pair, select(secondary)) == [ACK] * answers
        assert len(said(pair, short(0x7B, 253))) == answers

    def test_most_significant_byte_first(self, pair: MBusLine) -> None:
        assert said(pair, select("12345678 2c2d 01 07", ci=0x56)) == [ACK]

    def test_a_selection_ends_with_the_next_one_and_with_a_reset(self, pair: MBusLine) -> None:
        assert one(pair, select("78563412 ffff ff ff")) == ACK
        assert one(pair, short(0x7B, 253))[7:11] == bytes.fromhex("78563412")
        assert one(pair, select("99993912 ffff ff ff")) == ACK
        assert one(pair, short(0x7B, 253))[7:11] == bytes.fromhex("99993912")
        assert one(pair, short(0x40, 253)) == ACK
        assert said(pair, short(0x7B, 253)) == []

    def test_settings_cannot_be_changed(self, pair: MBusLine) -> None:
        body = bytes.fromhex("53 05 51 01 7a 08")  # set the primary address to 8
        assert said(pair, bytes((0x68, 6, 6, 0x68)) + body + bytes((sum(body) % 256, 0x16))) == []
        assert one(pair, short(0x40, 5)) == ACK

    def test_an_application_reset_starts_with_the_first_telegram(self, dial: Dial) -> None:
        line = MBusLine([meter(dial, layout="two-telegrams")], 2400)
        assert one(line, short(0x7B, 5))[-3] == 0x1F
        assert one(line, bytes.fromhex("68030368 530550a8 16")) == ACK
        assert one(line, short(0x5B, 5))[-3] == 0x1F

    def test_no_alarm_is_an_acknowledgement(self, pair: MBusLine) -> None:
        assert one(pair, short(0x5A, 5)) == ACK


def test_requests_are_found_in_noise_and_in_pieces() -> None:
    buffer = bytearray(b"\x00\x68\x03\xff\x10\x40")
    assert take_request(buffer) is None
    buffer += b"\x05\x45\x16" + short(0x7B, 5)[:3]
    assert take_request(buffer) == short(0x40, 5)
    assert take_request(buffer) is None
    buffer += short(0x7B, 5)[3:]
    assert take_request(buffer) == short(0x7B, 5)
    assert not buffer


def test_a_request_with_a_wrong_sum_is_not_answered() -> None:
    buffer = bytearray(b"\x10\x40\x05\x46\x16")
    assert take_request(buffer) is None
    assert not buffer


@pytest.mark.parametrize("baudrate", [300, 2400, 9600])
def test_answers_start_inside_the_window_of_the_standard(dial: Dial, baudrate: int) -> None:
    for number in range(200):
        delay_s = meter(dial, digits=f"{number:08d}").delay_s(baudrate)
        assert 11 / baudrate <= delay_s <= 330 / baudrate + 0.050


class TestCollision:
    """Several answers at once, as the wire joins them."""

    def test_equal_answers_at_one_moment_look_like_one(self) -> None:
        joined = join([Answer("a", ACK, 0.02), Answer("b", ACK, 0.02)], 2400)
        assert joined is not None
        assert joined.data == ACK

    def test_a_zero_wins_over_a_one(self) -> None:
        joined = join([Answer("a", b"\xf0", 0.02), Answer("b", b"\x3c", 0.02)], 2400)
        assert joined is not None
        assert joined.data == b"\x30"

    def test_different_moments_are_garbage_and_every_answer_is_marked(self, dial: Dial) -> None:
        line = MBusLine([meter(dial), meter(dial, digits="12399999", address=9)], 2400)
        answers = line.answers(short(0x7B, 254), MOMENT)
        joined = join(answers, 2400)
        assert joined is not None
        assert joined.data not in [answer.data for answer in answers]
        assert [answer.damaged for answer in joined.answers] == [True, True]

    def test_answers_one_after_the_other_both_come_through(self) -> None:
        joined = join([Answer("a", b"\x12\x34", 0.0), Answer("b", b"\x56", 3 * 11 / 2400)], 2400)
        assert joined is not None
        assert joined.data == b"\x12\x34\x56"

    def test_silence_is_nothing(self) -> None:
        assert join([], 2400) is None
