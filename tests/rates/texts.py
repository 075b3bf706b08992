"""Rate files for tests: the example of the reference, and small files made of lines."""

from __future__ import annotations

import re
from datetime import date
from fractions import Fraction
from pathlib import Path
from textwrap import indent

from rates.book import Priced, PriceRequest
from rates.file import FileBook
from rates.reading import load_file

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "docs" / "reference" / "rate-files.md"
NORMAN = ROOT / "rates" / "files" / "norman.yaml"
DAY = date(2026, 2, 15)

HEAD = """\
format: headwater-rates/1
name: Small
currency: USD
billed_unit: {unit: gal}
inputs:
  units: {type: whole, default: 1}
  zone: {type: choice, values: [inner, outer], default: inner}
  allotment: {type: volume, default: 50}
  poor: {type: yes-no, default: no}
versions:
  - start: 2026-01-01
    authority: Ordinance 1
    classes:
      home:
        label: {en: Home}
        winter_average: {months: [12, 1, 2]}
        services:
          water:
            label: {en: Water}
            lines:
"""


def example() -> str:
    """Return the complete example of the reference page."""
    found = re.search(r"```yaml\n(.*?)```", REFERENCE.read_text(), re.DOTALL)
    assert found is not None
    return found[1]


def table_after(page: Path, heading: str) -> list[dict[str, str]]:
    """Return the first table after a line that starts with `heading` as rows by column name."""
    lines = page.read_text().splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(heading))
    first = next(i for i in range(start, len(lines)) if lines[i].startswith("|"))
    rows = []
    for line in lines[first:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return [dict(zip(rows[0], row, strict=True)) for row in rows[2:]]


def small(*lines: str, head: str = HEAD) -> FileBook:
    """Load a file with one class `home`, one service `water` and these lines (each in YAML's flow style)."""
    return load_file(small_text(*lines, head=head), name="small.yaml")


def small_text(*lines: str, head: str = HEAD) -> str:
    """Return the text of such a file."""
    return head + "".join(indent(f"- {{label: {{en: Line}}, {line}}}\n", " " * 14) for line in lines)


def price(book: FileBook, used: object, rate_class: str = "home", /, **rest: object) -> Priced:
    """Price a use on DAY; on, month, days, full_days and services as in PriceRequest, all else is an input."""
    on = rest.pop("on", DAY)
    assert isinstance(on, date)
    known = {key: rest.pop(key) for key in ("days", "full_days", "services") if key in rest}
    month = rest.pop("month", on.month)
    return book.price(PriceRequest(rate_class, Fraction(str(used)), on, month, inputs=rest, **known))  # type: ignore[arg-type]


def amounts(priced: Priced) -> list[str]:
    """Return the lines as `code amount`."""
    return [f"{line.code} {line.cents / 100:.2f}" for line in priced.lines]
