"""`headwater decode` and `headwater drivers` as a shell sees them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "frames" / "mbus"
WATER = (FOLDER / "water_bcd.hex").read_text()


def headwater(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "headwater", *arguments], input=stdin, capture_output=True, check=False
    )


@pytest.mark.parametrize(
    "stdin",
    [
        WATER.encode(),
        bytes.fromhex(WATER),
        WATER.replace(" ", "").encode(),
        b"".join(b"0X%02X, " % byte for byte in bytes.fromhex(WATER)),
        b"\xef\xbb\xbf" + bytes.fromhex(WATER).hex(":").encode() + b"\r\n",
    ],
)
def test_a_frame_on_standard_input_gives_one_object_per_value(stdin: bytes) -> None:
    done = headwater("decode", "mbus", "--json", "-", stdin=stdin)
    assert (done.returncode, done.stderr) == (0, b"")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert {key: rows[0][key] for key in ("value", "unit", "storage", "tariff", "function", "quantity")} == {
        "value": "12345.678",
        "unit": "m^3",
        "storage": 0,
        "tariff": 0,
        "function": "Instantaneous value",
        "quantity": "Volume",
    }
    assert [row["value"] for row in rows] == ["12345.678", "12340.000", "2013-12-31", "0.315", "2019-03-13T12:30:00Z"]


def test_a_frame_as_argument_gives_a_table() -> None:
    done = headwater("decode", "mbus", *WATER.split())
    assert done.returncode == 0
    assert "12345.678" in done.stdout.decode()
    assert "HWT 12345678 Cold water" in done.stdout.decode()


@pytest.mark.parametrize("name", ["cut_data", "bad_checksum", "application_busy"])
def test_a_refused_frame_prints_no_values(name: str) -> None:
    done = headwater("decode", "mbus", "--json", "-", stdin=(FOLDER / f"{name}.hex").read_bytes())
    expected = json.loads((FOLDER / f"{name}.json").read_text("utf-8"))
    assert (done.returncode, done.stdout) == (5, b"")
    error = json.loads(done.stderr)
    assert error["error"] == expected["error"]
    assert error.get("name") == expected.get("name")


@pytest.mark.parametrize("stdin", [b"", b"681", b"\x00\xff", b"hello"])
def test_what_is_no_frame_is_refused(stdin: bytes) -> None:
    done = headwater("decode", "mbus", "--json", "-", stdin=stdin)
    assert (done.returncode, done.stdout) == (5, b"")


def test_an_argument_that_is_no_hex_is_a_usage_error() -> None:
    assert headwater("decode", "mbus", "xyz").returncode == 2


def test_registers_are_decoded_by_a_map() -> None:
    done = headwater("decode", "modbus", "--map", "tuf2000m", "--json", "0x5678", "18")
    assert done.returncode == 0
    (row,) = (json.loads(line) for line in done.stdout.splitlines())
    assert (row["name"], row["value"], row["unit"], row["count"], row["scale"]) == (
        "positive_accumulator_long",
        "1201.784",
        "m3",
        0x125678,
        -3,
    )
    same = headwater("decode", "modbus", "--map", "tuf2000m", "--json", "-", stdin=b"5678 0012\n")
    assert same.stdout == done.stdout


def test_a_map_of_ones_own_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('maker = "m"\nmeeter = "x"\n')
    done = headwater("decode", "modbus", "--map", str(path), "--json", "0001")
    assert done.returncode == 3
    assert any('did you mean "meter"' in fault for fault in json.loads(done.stderr)["faults"])


def test_the_list_names_every_model() -> None:
    done = headwater("drivers", "list", "--json")
    rows = json.loads(done.stdout)
    assert done.returncode == 0
    assert {"arad-octave", "siemens-mag8000", "tuf2000m"} <= {row["model"] for row in rows}
    assert all(row["confidence"] for row in rows)
