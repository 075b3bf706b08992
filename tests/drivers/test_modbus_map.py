"""Register maps: those that come with Headwater, their plans of requests, and every fault that a map may have."""

from __future__ import annotations

import json
import struct
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import ConfigError
from drivers.modbus_map import Span, load_map, load_model, model_names, parse_map, plan_spans
from drivers.modbus_value import BYTE_ORDERS, counts_of, decode_value, split_counts

GOOD = """
maker = "m"
meter = "x"
source = "s"
confidence = "c"
[[register]]
name = "total"
address = 10
type = "u32"
role = "total"
unit = "m3"
scale = -3
"""


def test_a_map_is_read_with_its_defaults() -> None:
    register_map = parse_map(GOOD, "mine")
    assert (register_map.function, register_map.max_registers, register_map.address_base) == (3, 125, 0)
    assert plan_spans(register_map) == (Span(10, 2),)


def test_all_faults_of_a_map_are_reported_together() -> None:
    text = """
maker = "m"
meter = 3
sorce = "s"
confidence = "c"
function = 6
[[register]]
name = "total"
address = 70000
type = "f32"
byte_order = "ABDC"
role = "total"
unit = "litres"
[[register]]
name = "total"
address = 1
type = "string"
expect = 4
[[register]]
name = "split"
address = 3
type = "i32"
count = 4
role = "total"
unit = "m3"
resolution = "0.002"
fraction = "nowhere"
bits = { x = "y" }
"""
    with pytest.raises(ConfigError) as caught:
        parse_map(text, "bad")
    faults = "\n".join(caught.value.faults)
    for expected in (
        "meter = 3",
        "source   is missing",
        'sorce   unknown key; did you mean "source"',
        "function = 6",
        "address = 70000",
        "byte_order = 'ABDC'",
        "unit = 'litres'",
        "resolution   is missing",
        "count   is missing; a string",
        "register[1].expect",
        "count = 4   i32 takes 2",
        "resolution = '0.002'",
        "bits   expected a table",
        "names no register",
        "'total'   is there twice",
        "role 'total'   belongs to one register",
    ):
        assert expected in faults, expected
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("text", ["", "not toml", "maker = ['x'", GOOD.replace("[[register]]", "[register]")])
def test_what_is_no_map_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_map(text, "bad")


def test_there_is_no_map_of_another_name() -> None:
    with pytest.raises(ConfigError, match="did you mean 'tuf2000m'"):
        load_model("tuf2000")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_map("nowhere/x.toml")


@pytest.mark.parametrize("name", model_names())
def test_every_model_loads_and_names_its_source(name: str) -> None:
    register_map = load_model(name)
    assert register_map.source
    assert "not tried on hardware" in register_map.confidence
    assert all(span.count <= register_map.max_registers for span in plan_spans(register_map))


def test_the_maps_agree_with_the_collected_documents(data_dir: Path) -> None:
    files = {
        "arad-octave": "arad_octave",
        "badger-m2000": "badger_modmag_m2000",
        "dynaflox-ultrad": "dynaflox_ultrad",
        "dynasonics-tfx-ultra": "dynasonics_tfx_ultra",
        "kamstrup-multical-x03": "kamstrup_multical_x03_default",
        "siemens-mag5000": "siemens_mag5000_6000",
        "siemens-mag8000": "siemens_mag8000",
        "tuf2000m": "tuf2000m",
    }
    assert set(files) == set(model_names())
    for name, file in files.items():
        document = json.loads((data_dir / "meters" / "modbus" / f"map_{file}.json").read_text("utf-8"))
        register_map = load_model(name)
        facts = {fact["name"]: fact for fact in document["registers"]}
        assert register_map.function == document["default_function_code"]
        assert register_map.address_base == document["address_base"]
        for register in register_map.registers:
            fact = facts[register.name]
            order = BYTE_ORDERS[0 if register.type == "string" else 2 * register.count]
            assert (register.address, register.count, register.type) == (fact["address"], fact["count"], fact["type"])
            assert order[register.byte_order] == order[fact["byte_order"]], (name, register.name)
            if fact.get("role") in ("total", "reverse_total", "alarms", "serial"):
                assert register.role == fact["role"] or (name, register.role) == ("badger-m2000", "status")
            if fact.get("bits"):
                assert register.bits == {int(bit): text for bit, text in fact["bits"].items()}


def test_split_totals_come_in_one_request_and_limits_hold() -> None:
    text = GOOD.replace('maker = "m"', 'maker = "m"\nmax_registers = 8\nmax_gap = 2')
    for address in (12, 14, 16, 18, 20):
        text += f'[[register]]\nname = "a{address}"\naddress = {address}\ntype = "u16"\nrole = "alarms"\n'
    for address in (13, 15, 19):
        text += f'[[register]]\nname = "listed{address}"\naddress = {address}\ntype = "u16"\n'
    # 17 is in no document, so it is not read over; 18 to 20 is, and 10 to 16 is within eight registers.
    assert plan_spans(parse_map(text, "gaps")) == (Span(10, 7), Span(18, 3))
    ultrad = plan_spans(load_model("dynaflox-ultrad"))
    assert any(span.address <= 2 and span.address + span.count >= 6 for span in ultrad)
    mag8000 = plan_spans(load_model("siemens-mag8000"))
    assert any(span.address <= 3017 and span.address + span.count >= 3021 for span in mag8000)


def test_the_published_float_in_four_byte_orders(data_dir: Path) -> None:
    sample = json.loads((data_dir / "meters" / "modbus" / "float_orders_libmodbus.json").read_text("utf-8"))
    for order, words in sample["registers"].items():
        assert decode_value(words, "f32", order) == Decimal(sample["value"])


WORD_ORDERS = {"ABCD": (1, False), "CDAB": (-1, False), "BADC": (1, True), "DCBA": (-1, True)}


@given(st.integers(0, 2**64 - 1), st.sampled_from(sorted(WORD_ORDERS)), st.sampled_from([2, 4]))
def test_every_order_is_words_turned_and_bytes_swapped(number: int, order: str, count: int) -> None:
    number %= 2 ** (16 * count)
    words = [number >> shift & 0xFFFF for shift in range(16 * count - 16, -1, -16)]
    step, swapped = WORD_ORDERS[order]
    words = [(w & 0xFF) << 8 | w >> 8 if swapped else w for w in words[::step]]
    assert decode_value(words, f"u{16 * count}", order) == number
    signed = number - 2 ** (16 * count) if number >> (16 * count - 1) else number
    assert decode_value(words, f"i{16 * count}", order) == signed


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_double_is_exact(value: float) -> None:
    words = struct.unpack("<4H", struct.pack("<d", value))
    assert decode_value(words, "f64", "CDAB") == Decimal(value)


def test_floats_that_are_no_numbers_are_none_and_text_ends_at_nul() -> None:
    assert decode_value([0x7FC0, 0], "f32", "ABCD") is None
    assert decode_value([0x7F80, 0], "f32", "ABCD") is None
    assert decode_value([0x4142, 0x4300], "string", "ABCD") == "ABC"
    assert decode_value([0x4241, 0x2043], "string", "BADC") == "ABC"


@pytest.mark.parametrize(
    ("value", "scale", "counts"),
    [("1.0005", -3, 1001), ("1.00049999", -3, 1000), ("12345.6", 0, 12346), ("-0.0005", -3, -1), ("0", -3, 0)],
)
def test_float_totals_round_half_up(value: str, scale: int, counts: int) -> None:
    assert counts_of(Decimal(value), scale) == counts


@given(st.integers(0, 2**31 - 1), st.integers(0, 999_999))
def test_split_totals_are_exact(whole: int, fraction: int) -> None:
    assert split_counts(whole, fraction, fraction_per_unit=10**6, scale=-6) == whole * 10**6 + fraction
    assert split_counts(whole, fraction, fraction_per_unit=10**6, scale=-3) == whole * 1000 + fraction // 1000
    assert split_counts(-whole, -fraction, fraction_per_unit=10**6, scale=-6) == -(whole * 10**6 + fraction)
