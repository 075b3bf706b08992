"""What the commands `headwater rates ...` do: read files, put questions to them, print the answers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import click

from domain.units import Unit
from rates.book import PriceRequest
from rates.errors import Fault, FilesRefused, InputError, RateFileError
from rates.file import FileBook
from rates.inputs import exact
from rates.loading import load_book

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rates.book import Book, Line, Priced, Version

PLACES_MAX = 12
MONTH_DAYS = 30
OWRS_USAGE = "usage_ccf"


@dataclass(frozen=True, slots=True)
class Question:
    """What a quote is asked for, as it was written on the command line."""

    rate_class: str
    on_text: str | None
    month: int | None
    inputs: tuple[str, ...]
    days: int | None
    full_days: int | None
    turn_on: tuple[str, ...]


def read_book(file: str) -> Book:
    """Load a file; raises RateFileError, also when it cannot be read at all."""
    try:
        data = Path(file).read_bytes()
    except OSError as error:
        raise RateFileError(file, [Fault(1, 1, "", f"cannot be read: {error.strerror}")]) from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        raise RateFileError(file, [Fault(line, column, "", "not UTF-8; save the file in that encoding")]) from error
    return load_book(text, name=file)


def check_files(files: Iterable[str], *, as_json: bool) -> None:
    """Print for each file what it holds; raises FilesRefused with all faults of all files."""
    rows: list[dict[str, object]] = []
    faults: list[tuple[str, Fault]] = []
    for file in files:
        try:
            book = read_book(file)
        except RateFileError as error:
            faults += [(file, fault) for fault in error.faults]
            continue
        # An OWRS file is usable without the classes that have faults; a check names them all the same.
        if found := tuple(getattr(book, "faults", ())):
            faults += [(file, fault) for fault in found]
            continue
        rows.append(_contents(file, book))
    if as_json:
        click.echo(json.dumps({"ok": not faults, "files": rows}, indent=2))
    else:
        for row in rows:
            versions = row["versions"]
            assert isinstance(versions, list)
            click.echo(f"{row['file']}: ok ({row['format']}, {', '.join(v['id'] for v in versions)})")
    if faults:
        raise FilesRefused(faults)


def print_quote(file: str, question: Question, *, as_json: bool) -> None:
    """Print what a bill comes to; raises InputError when the question cannot be answered."""
    book = read_book(file)
    if question.turn_on:
        if not isinstance(book, FileBook):
            raise InputError("an OWRS file has no lines that are off; leave out --turn-on")
        book = book.with_lines_on(frozenset(question.turn_on))
    on = day_for(book, question.on_text)
    request = request_of(book, question, on)
    priced = book.price(request)
    version = book.version_on(on)
    if as_json:
        click.echo(json.dumps(_quote_row(book, question, version, priced), indent=2))
        return
    for line in priced.lines:
        click.echo(f"{line.label.get('en', line.code):<44} {_working(line, book):<34} {_amount(line, book):>12}")
    click.echo(f"{'Total':<44} {version.id:<34} {money_text(priced.total):>12}")


def print_explanation(file: str, rate_class: str | None, on_text: str | None, language: str, *, as_json: bool) -> None:
    """Print the prices of one class, or of all, in sentences."""
    book = read_book(file)
    on = day_for(book, on_text)
    names = (rate_class,) if rate_class else book.classes(on)
    said = {name: book.explain(name, on, language) for name in names}
    if as_json:
        click.echo(json.dumps({"file": file, "on": on.isoformat(), "classes": said}, indent=2, ensure_ascii=False))
        return
    click.echo("\n\n".join("\n".join(lines) for lines in said.values()))


def day_for(book: Book, text: str | None) -> date:
    """Return the day that was asked for; else today, or the last version's start when none holds today."""
    if text is not None:
        try:
            return date.fromisoformat(text)
        except ValueError as error:
            raise InputError(f"--on is {text!r}; expected a date such as 2026-07-01") from error
    today = datetime.now(UTC).date()
    try:
        book.version_on(today)
    except InputError:
        return book.versions()[-1].start
    return today


def money_text(amount: Fraction) -> str:
    """Write an exact amount: at least two places, no zeros beyond them; 12 places when it has no end."""
    rest, places = amount.denominator, 0
    while rest % 10 == 0:
        rest, places = rest // 10, places + 1
    for prime in (2, 5):
        while rest % prime == 0:
            rest, places = rest // prime, places + 1
    places = places if rest == 1 else PLACES_MAX
    digits = (20 * abs(amount.numerator) * 10**places // amount.denominator + 10) // 20  # half up
    whole, cents = divmod(digits, 10**places)
    sign = "-" if amount < 0 and digits else ""
    return f"{sign}{whole}.{f'{cents:0{places}d}'.rstrip('0').ljust(2, '0') if places else '00'}"


def plain_text(number: Fraction) -> str:
    """Write a quantity or price as a decimal without needless places."""
    text = money_text(number)
    return text.rstrip("0").rstrip(".")


def request_of(book: Book, question: Question, on: date) -> PriceRequest:
    """Return the request that a question makes of a book; raises InputError."""
    given: dict[str, object] = {}
    for pair in question.inputs:
        name, equals, value = pair.partition("=")
        if not equals or not name.strip():
            raise InputError(f"--input {pair!r} is not NAME=VALUE")
        if name.strip() in given:
            raise InputError(f"input {name.strip()} is given twice")
        given[name.strip()] = value.strip()
    if isinstance(book, FileBook):
        units, usual_days = _own_usage(book, given), MONTH_DAYS
    else:
        # The length of an OWRS period is an input of its own (days_in_period), as the file uses it.
        units, usual_days = _owrs_usage(given), 1 if question.days is None else MONTH_DAYS
    full_days = question.full_days or usual_days
    return PriceRequest(
        rate_class=question.rate_class,
        units=units,
        on=on,
        month=question.month or on.month,
        days=full_days if question.days is None else question.days,
        full_days=full_days,
        inputs=given,
    )


def _own_usage(book: FileBook, given: dict[str, object]) -> Fraction:
    """Take the use out of the inputs, in billed units."""
    names = ["usage", *(f"usage_{unit.value}" for unit in Unit)]
    found = [name for name in given if name in names]
    if len(found) != 1:
        how = "is missing" if not found else f"is given as {' and as '.join(found)}"
        known = ", ".join(names[1:])
        raise InputError(f"the use {how}; give usage=N in billed units ({book.unit_name()}) or one of: {known}")
    number = _number(found[0], given.pop(found[0]))
    unknown = [name for name in given if name not in book.declared]
    if unknown:
        raise InputError(f"input {unknown[0]!r} is not known; known are: {', '.join([*names, *book.declared])}")
    if found[0] == "usage":
        return number
    return book.units_of(number, Unit(found[0].removeprefix("usage_")))


def _owrs_usage(given: dict[str, object]) -> Fraction:
    if OWRS_USAGE not in given:
        raise InputError(f"the use is missing; give {OWRS_USAGE}=N in the file's billing unit")
    return _number(OWRS_USAGE, given[OWRS_USAGE])


def _number(name: str, value: object) -> Fraction:
    number = exact(value)
    if number is None or number < 0:
        raise InputError(f"input {name} is {value!r}; expected a number that is not negative")
    return number


def _contents(file: str, book: Book) -> dict[str, object]:
    versions = [
        {"id": version.id, "start": version.start.isoformat(), "classes": list(book.classes(version.start))}
        for version in book.versions()
    ]
    return {"file": file, "ok": True, "format": book.format, "digest": book.digest, "versions": versions}


def _quote_row(book: Book, question: Question, version: Version, priced: Priced) -> dict[str, object]:
    return {
        "total": money_text(priced.total),
        "currency": book.currency,
        "class": question.rate_class,
        "version": version.id,
        "lines": [_line_row(line, book) for line in priced.lines],
    }


def _line_row(line: Line, book: Book) -> dict[str, object]:
    numbers = {"lower": line.lower, "upper": line.upper, "quantity": line.quantity}
    return {
        "service": line.service,
        "code": line.code,
        "label": dict(line.label),
        "kind": line.kind.value,
        "amount": _amount(line, book),
        "exact": money_text(line.amount),
        "tier": line.tier,
        **{name: None if number is None else plain_text(number) for name, number in numbers.items()},
        "price": None if line.price is None else money_text(line.price),
        "per": plain_text(line.per),
    }


def _amount(line: Line, book: Book) -> str:
    """Write what a line adds to the total: printed cents in our own files, the exact amount in OWRS ones."""
    return money_text(Fraction(line.cents, 100) if isinstance(book, FileBook) else line.amount)


def _working(line: Line, book: Book) -> str:
    """Write how a line came about, such as `5,000 x 3.46 per 1,000 gal`."""
    if line.quantity is None or line.price is None:
        return ""
    quantity, price = f"{Decimal(plain_text(line.quantity)):,f}", money_text(line.price)
    per = "" if line.per == 1 else f" per {Decimal(plain_text(line.per)):,f}"
    unit = f" {book.quantity.unit.value}" if line.kind.value == "usage" or line.tier is not None else ""
    share = f" x {line.days}/{line.full_days} days" if line.days is not None and not unit else ""
    return f"{quantity}{unit} x {price}{per}{share}"
