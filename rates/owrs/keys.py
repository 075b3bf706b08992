"""How an input finds its entry in a map: exactly as written, or else in another spelling of the same thing."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from decimal import Decimal
from fractions import Fraction

_HALVES = {"½": " 1/2", "¼": " 1/4", "¾": " 3/4", "⅝": " 5/8", "⁄": "/", "\u00a0": " "}
_MONTHS = "january february march april may june july august september october november december".split()  # noqa: SIM905


def key_text(value: object) -> str:
    """Return an input as the text that stands in a map: 1 for 1.0, 0.5 for a half, a text as it is."""
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, float):
        value = Decimal(repr(value))
    if isinstance(value, int | Fraction | Decimal):
        number = Fraction(value)
        if number.denominator == 1:
            return str(number.numerator)
        decimal = f"{Decimal(number.numerator) / Decimal(number.denominator):.15g}"
        return decimal.rstrip("0").rstrip(".") if "." in decimal and "e" not in decimal.lower() else decimal
    return str(value).strip()


def find_key(given: tuple[str, ...], keys: Iterable[str], *, by_month: bool = False) -> str | None:
    """Return the key that an input (several: joined by `|`) means, None when there is none or more than one."""
    keys = list(keys)
    wanted = "|".join(given)
    if wanted in keys:
        return wanted
    whole = _plain(wanted, len(given), by_month)
    found = [key for key in keys if _plain(key, len(given), by_month) == whole]
    return found[0] if len(found) == 1 else None


def _plain(text: str, positions: int, by_month: bool) -> str:
    for sign, plain in _HALVES.items():
        text = text.replace(sign, plain)
    text = unicodedata.normalize("NFKC", text).casefold()
    text = re.sub("[“”″'’`]+", '"', text)
    if text.count("|") >= positions:  # one | too many: `1|1/2"` is how some files write one and a half
        text = re.sub(r"(\d)\s*\|\s*(\d+/\d+)", r"\1 \2", text)
    text = re.sub(r"[\s_\-]+", " ", text.replace('"', " "))
    text = re.sub(r"(\d{1,30}) (\d{1,30}/\d{1,30})(?!\d)", lambda match: str(int(match[1]) + _fraction(match[2])), text)
    text = re.sub(
        r"(?<![\d/.])(\d{1,30}/\d{1,30}|\d{0,30}\.?\d{1,30})(?![\d/.])", lambda match: str(_fraction(match[1])), text
    )
    segments = [segment.strip() for segment in text.split("|")]
    if by_month:
        segments = [_month(segment) for segment in segments]
    return "|".join(segments)


def _fraction(text: str) -> Fraction:
    top, _, bottom = text.partition("/")
    return Fraction(top) / int(bottom) if bottom and int(bottom) else Fraction(top)


def _month(segment: str) -> str:
    names = [index for index, name in enumerate(_MONTHS, start=1) if len(segment) >= 3 and name.startswith(segment)]
    return str(names[0]) if len(names) == 1 else segment


def values_at(keys: Iterable[str], position: int, positions: int) -> tuple[str, ...]:
    """Return what the keys of a map have at one position, in their order, each once."""
    found: dict[str, None] = {}
    for key in keys:
        segments = key.split("|")
        if positions == 1:
            found[key] = None
        elif len(segments) == positions:
            found[segments[position].strip()] = None
    return tuple(found)


def given_values(inputs: Mapping[str, object], name: str) -> object | None:
    """Return an input by its name, or by the same letters and digits (`Meter Size` is meter_size)."""
    if name in inputs:
        return inputs[name]
    wanted = _letters(name)
    return next((value for key, value in inputs.items() if _letters(key) == wanted), None)


def _letters(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).casefold()
