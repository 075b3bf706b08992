"""`headwater rates`, as it is typed."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from headwater.cli import main
from rates.asking import money_text, plain_text
from tests.rates.texts import NORMAN, example

QUOTE = ["rates", "quote", str(NORMAN), "--class", "residential", "--on", "2026-06-30"]


class Typed:
    """Runs the command in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        out, err = self.capsys.readouterr()
        return int(str(ended.value.code)), out, err


@pytest.fixture
def typed(capsys: pytest.CaptureFixture[str]) -> Typed:
    return Typed(capsys)


def test_a_quote_in_json(typed: Typed) -> None:
    code, out, err = typed(*QUOTE, "--input", "usage=12345", "--input", "winter_average=5200", "--json")
    answer: dict[str, Any] = json.loads(out)
    assert (code, err, answer["total"], answer["version"]) == (0, "", "99.29", "2023-09-01")
    assert sum(Fraction(line["amount"]) for line in answer["lines"]) == Fraction(answer["total"])
    assert answer["lines"][2] == {
        "service": "water",
        "code": "use",
        "label": {"en": "Water use", "es": "Consumo de agua"},
        "kind": "usage",
        "amount": "33.05",
        "exact": "33.0525",
        "tier": 2,
        "lower": "5000",
        "upper": "15000",
        "quantity": "7345",
        "price": "4.50",
        "per": "1000",
    }


def test_a_quote_in_words(typed: Typed) -> None:
    code, out, _ = typed(*QUOTE, "--input", "usage_kgal=12.345", "--input", "winter_average=5200")
    assert code == 0
    assert "7,345 gal x 4.50 per 1,000" in out
    assert out.splitlines()[-1].split() == ["Total", "2023-09-01", "99.29"]


@pytest.mark.parametrize(
    "usage", ["usage=5000", "usage_gal=5000", "usage_kgal=5", "usage_l=18927.05892", "usage_m3=18.92705892"]
)
def test_the_use_in_any_unit(typed: Typed, usage: str) -> None:
    code, out, _ = typed(*QUOTE, "--input", usage, "--input", "winter_average=0", "--json")
    assert (code, json.loads(out)["lines"][1]["quantity"]) == (0, "5000")


def test_the_open_line_and_a_part_of_a_period(typed: Typed) -> None:
    on = [*QUOTE, "--input", "usage=0", "--input", "winter_average=0", "--turn-on", "water.capital_improvement"]
    assert json.loads(typed(*on, "--json")[1])["total"] == "36.40"
    assert json.loads(typed(*on, "--days", "15", "--json")[1])["total"] == "18.20"
    assert "5.45" in typed(*on, "--days", "15")[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the use is missing; give usage=N in billed units (gal) or one of: usage_l, usage_m3, usage_gal"),
        (["--input", "usage=1", "--input", "usage_gal=1"], "the use is given as usage and as usage_gal"),
        (["--input", "usage=-1"], "input usage is '-1'; expected a number that is not negative"),
        (["--input", "usage=1", "--input", "meter=1"], "input 'meter' is not known; known are: usage, usage_l"),
        (["--input", "usage=1", "--input", "usage=2"], "input usage is given twice"),
        (["--input", "usage"], "--input 'usage' is not NAME=VALUE"),
        (["--input", "usage=1", "--on", "yesterday"], "--on is 'yesterday'; expected a date"),
        (["--input", "usage=1", "--turn-on", "water.x"], "line 'water.x' is not in"),
    ],
)
def test_questions_without_an_answer(typed: Typed, arguments: list[str], message: str) -> None:
    code, out, err = typed(*QUOTE, *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert json.loads(typed(*QUOTE, *arguments, "--json")[2])["error"] == "InputError"


def test_check_names_every_fault_of_every_file(typed: Typed, tmp_path: Path) -> None:
    broken, missing, latin = tmp_path / "broken.yaml", tmp_path / "missing.yaml", tmp_path / "latin.yaml"
    broken.write_text(example().replace("currency: USD", "currency: $").replace("3.5%", "3.5"))
    latin.write_bytes("format: headwater-rates/1\nname: Española\n".encode("latin-1"))
    files = [str(NORMAN), str(broken), str(missing), str(latin)]
    code, out, err = typed("rates", "check", *files)
    assert (code, out) == (3, f"{NORMAN}: ok (headwater-rates/1, 2015-01-01, 2023-09-01)\n")
    lines = err.splitlines()
    assert lines[0] == f"{broken}:3:11: currency: is '$'; expected a currency of three letters such as USD"
    line = next(n for n, text in enumerate(example().splitlines(), 1) if "3.5%" in text)
    place = "versions[0].classes.residential.services.tax.lines[0].percent"
    assert (
        lines[1]
        == f"{broken}:{line}:26: {place}: is '3.5'; expected a percentage such as 60%, or a table with by and values"
    )
    assert lines[2] == f"{missing}:1:1: cannot be read: No such file or directory"
    assert lines[3] == f"{latin}:2:11: not UTF-8; save the file in that encoding"
    code, out, err = typed("rates", "check", *files, "--json")
    assert (code, json.loads(out)["ok"], [row["file"] for row in json.loads(out)["files"]]) == (3, False, [str(NORMAN)])
    assert [fault["line"] for fault in json.loads(err)["faults"]][0] == 3
    assert typed("rates", "check", str(NORMAN))[0] == 0


def test_explain(typed: Typed) -> None:
    code, out, _ = typed("rates", "explain", str(NORMAN), "--class", "residential", "--on", "2026-01-01")
    assert code == 0
    assert "$3.46 (Low-income rate: no), $2.595 (Low-income rate: yes) up to and including 5,000 gal; $4.50 up" in out
    assert "Not in force: Capital improvement charge: $1.50" in out
    spanish = json.loads(typed("rates", "explain", str(NORMAN), "--language", "es", "--json")[1])["classes"]
    assert list(spanish) == ["residential", "apartments", "commercial"]
    assert any("del 80% de agua consumida" in line for line in spanish["commercial"])


OWRS = """\
metadata:
  effective_date: 2017-07-01
  utility_name: Example
  bill_frequency: Monthly
rate_structure:
  RESIDENTIAL_SINGLE:
    service_charge: 10.125
    tier_starts: [0, 10]
    tier_prices: [1, 2]
    commodity_charge: Tiered
    bill: service_charge + commodity_charge
"""


def test_the_same_commands_for_owrs_files(typed: Typed, tmp_path: Path) -> None:
    file = tmp_path / "example.owrs"
    file.write_text(OWRS)
    ask = ["rates", "quote", str(file), "--class", "RESIDENTIAL_SINGLE", "--json"]
    answer = json.loads(typed(*ask, "--input", "usage_ccf=9.4", "--input", "whatever=1")[1])
    assert answer["total"] == "19.925"  # 9 at 1, 0.4 at 2, not rounded
    assert sum(Fraction(line["amount"]) for line in answer["lines"]) == Fraction("19.925")
    code, _, err = typed(*ask)
    assert (code, json.loads(err)["message"]) == (2, "the use is missing; give usage_ccf=N in the file's billing unit")
    assert typed("rates", "check", str(file))[1] == f"{file}: ok (owrs, 2017-07-01)\n"
    assert typed("rates", "explain", str(file))[0] == 0


@pytest.mark.parametrize(
    ("amount", "text", "plain"),
    [
        ("30.93", "30.93", "30.93"),
        ("0", "0.00", "0"),
        ("-0.005", "-0.005", "-0.005"),
        ("100", "100.00", "100"),
        ("1/8", "0.125", "0.125"),
        ("2/3", "0.666666666667", "0.666666666667"),
        ("123456789012345678901234567890.123456789012345", "123456789012345678901234567890.123456789012345", None),
        ("1/1000000000000000000000", "0.000000000000000000001", None),
    ],
)
def test_amounts_are_written_exactly(amount: str, text: str, plain: str | None) -> None:
    assert money_text(Fraction(amount)) == text
    assert plain is None or plain_text(Fraction(amount)) == plain
