"""The fields of a form whose questions come from a rate file: what the price of a class depends on."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext as _

from portal.core.errors import Refused
from rates.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date

    from rates.book import Book

DERIVED = frozenset(
    {"winter_average", "usage", "units", "usage_ccf", "season", "month", "days_in_period", "usage_month"}
)
"""What the calculation finds out itself: nobody is asked for it."""

_WHOLE = re.compile(r"-?\d{1,15}")


@dataclass
class Field:
    """One question: an input of a rate class, the values that it may have (none: any), and the answer so far."""

    name: str
    value: str
    values: tuple[str, ...] = ()
    required: bool = False
    unit: str = ""

    @property
    def text(self) -> str:
        """The name as people read it."""
        return self.name.replace("_", " ")

    def parsed(self) -> Any:
        """Return the answer as a rate file reads it; raises Refused(`input`)."""
        if self.values:
            if self.value not in self.values:
                shown = {"name": self.text, "known": ", ".join(self.values)}
                raise Refused("input", _("Choose for %(name)s one of: %(known)s.") % shown)
            return self.value
        if _WHOLE.fullmatch(self.value):
            return int(self.value)
        return self.value


def fields_of(book: Book | None, rate_class: str, on: date, inputs: Mapping[str, Any]) -> list[Field]:
    """Return the questions of a class, answered as an agreement is; what it has and the class does not ask is kept."""
    asked: dict[str, Field] = {}
    try:
        specs = book.inputs(rate_class, on) if book is not None else ()
    except InputError:
        specs = ()
    for spec in specs:
        if spec.name not in DERIVED or spec.name in inputs:
            value = inputs.get(spec.name, "")
            asked[spec.name] = Field(spec.name, _shown(value), spec.values, spec.required, spec.unit)
    for name, value in inputs.items():
        asked.setdefault(name, Field(name, _shown(value)))
    return list(asked.values())


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
