"""Whatever bytes come, decoding ends in values or in our own error; encoding by the standard is undone exactly."""

from __future__ import annotations

import struct
from decimal import Decimal
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.errors import MeterError
from drivers.mbus_bus import FrameReader
from drivers.mbus_frame import long_frame, parse_frame, short_frame
from drivers.mbus_record import decode_records
from drivers.mbus_telegram import decode_application, decode_telegram, manufacturer, manufacturer_word
from drivers.mbus_value import bcd, real

FRAMES = [
    bytes.fromhex(path.read_text()) for path in sorted((Path(__file__).parents[1] / "frames" / "mbus").glob("*.hex"))
]


@given(st.binary(max_size=300))
def test_any_bytes_end_in_values_or_our_own_error(data: bytes) -> None:
    try:
        decode_telegram(data)
    except MeterError:
        return


@settings(max_examples=400)
@given(
    st.sampled_from(FRAMES),
    st.lists(st.tuples(st.integers(6, 255), st.integers(0, 255)), min_size=1, max_size=4),
    st.integers(0, 40),
)
def test_mutations_with_a_good_checksum_end_in_values_or_our_own_error(
    frame: bytes, mutations: list[tuple[int, int]], cut: int
) -> None:
    body = bytearray(frame[4:-2])
    for position, value in mutations:
        body[position % len(body)] = value
    body = body[: max(3, len(body) - cut)]
    try:
        telegram = decode_telegram(long_frame(body[0] & 0xBF, body[1], body[2], bytes(body[3:])))
    except MeterError:
        return
    for record in telegram.records:
        assert record.value is None or isinstance(record.value_text(), str)


@given(st.binary(max_size=252), st.sampled_from([0x70, 0x72, 0x73, 0x76, 0x77, 0x78, 0x7A]))
def test_any_user_data_ends_in_values_or_our_own_error(data: bytes, ci: int) -> None:
    try:
        decode_application(ci, data)
    except MeterError:
        return


@given(st.integers(0, 255), st.integers(0, 255), st.integers(0, 255), st.binary(max_size=252))
def test_frames_are_taken_apart_as_they_were_made(control: int, address: int, ci: int, data: bytes) -> None:
    parsed = parse_frame(long_frame(control, address, ci, data))
    assert (parsed.control, parsed.address, parsed.ci, parsed.data) == (control, address, ci, data)
    parsed = parse_frame(short_frame(control, address))
    assert (parsed.control, parsed.address) == (control, address)


@given(st.integers(0, 99_999_999), st.integers(0, 2**20), st.integers(0, 63), st.integers(0, 31), st.integers(0, 7))
def test_a_record_is_decoded_to_what_was_encoded(
    count: int, storage: int, tariff: int, subunit: int, exponent: int
) -> None:
    head, rest = bytearray([0x0C | (storage & 1) << 6]), (storage >> 1, tariff, subunit)
    while any(rest):
        head[-1] |= 0x80
        head.append(rest[0] & 0x0F | (rest[1] & 3) << 4 | (rest[2] & 1) << 6)
        rest = (rest[0] >> 4, rest[1] >> 2, rest[2] >> 1)
    data = bytes(head) + bytes([0x10 | exponent]) + bytes.fromhex(f"{count:08d}")[::-1]
    (record,) = decode_records(data)
    assert (record.storage, record.tariff, record.subunit) == (storage, tariff, subunit)
    assert (record.count, record.digits, record.exponent) == (count, 8, exponent - 6)
    assert record.value == Decimal(count).scaleb(exponent - 6)


@given(st.binary(min_size=8, max_size=8), st.booleans())
def test_integers_of_every_width_keep_their_sign(raw: bytes, msb_first: bool) -> None:
    for dif, width in ((1, 1), (2, 2), (3, 3), (4, 4), (6, 6), (7, 8)):
        (record,) = decode_records(bytes([dif, 0x16]) + raw[:width], msb_first=msb_first)
        assert record.count == int.from_bytes(raw[:width], "big" if msb_first else "little", signed=True)


@given(st.integers(0, 999_999), st.booleans())
def test_bcd_is_its_digits(number: int, negative: bool) -> None:
    digits = f"f{number % 100_000:05d}" if negative else f"{number:06d}"
    assert bcd(bytes.fromhex(digits)[::-1]) == (-(number % 100_000) if negative else number)


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_a_real_is_the_shortest_decimal_of_its_single(value: float) -> None:
    data = struct.pack("<f", value)
    decoded = real(data)
    assert decoded is not None
    assert struct.pack("<f", float(decoded)) == data
    assert len(decoded.as_tuple().digits) <= 9


@given(st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=3, max_size=3))
def test_manufacturer_letters_survive(letters: str) -> None:
    assert manufacturer(manufacturer_word(letters)) == letters


@given(st.binary(max_size=40), st.sampled_from(FRAMES), st.integers(1, 9))
def test_the_reader_finds_a_frame_behind_any_noise(noise: bytes, frame: bytes, step: int) -> None:
    try:
        parse_frame(frame)
    except MeterError:
        return
    reader = FrameReader(ack=False)
    stream = noise + frame
    found = None
    for at in range(0, len(stream), step):
        reader.feed(stream[at : at + step])
        assert reader.needs > 0
        found = found or reader.take()
    found = found or reader.finish()
    assert found == frame
