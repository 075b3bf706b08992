"""A read-only list as staff see it: columns, rows of cells, a page at a time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, TypeVar

from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import pgettext

from portal.billing.documents import figures
from portal.core import services
from portal.core.services import utility_zone

if TYPE_CHECKING:
    from datetime import date

    from django.db.models import Model, QuerySet

    from portal.metering.models import MeterRegister

ROWS_PER_PAGE = 50
PAGES_MAX = 10_000

_Row = TypeVar("_Row", bound="Model")


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell.

    tone  good, warn or bad shows the text as a tag; number aligns right; day stays in one line; code is for ids.
    """

    text: str
    tone: str = ""
    href: str = ""

    @property
    def is_tag(self) -> bool:
        """Whether it is shown as a tag."""
        return self.tone in ("good", "warn", "bad")


@dataclass(frozen=True, slots=True)
class Listing:
    """One list: what it is, its columns, the rows of one page, and where more rows are."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    empty: str
    page: int = 1
    more: bool = False

    @property
    def lines(self) -> list[list[tuple[str, Cell]]]:
        """The rows with each cell beside the name of its column."""
        return [list(zip(self.columns, row, strict=True)) for row in self.rows]

    @property
    def heads(self) -> list[tuple[str, bool]]:
        """The columns, each with whether numbers stand in it."""
        first = self.rows[0] if self.rows else ()
        return [(column, cell.tone == "number") for column, cell in zip(self.columns, first, strict=True)]

    @property
    def previous(self) -> int | None:
        """The page before."""
        return self.page - 1 if self.page > 1 else None

    @property
    def following(self) -> int | None:
        """The page after."""
        return self.page + 1 if self.more else None


def page_of(rows: QuerySet[_Row], page: int) -> tuple[list[_Row], bool]:
    """Return one page of rows and whether there are more; nothing is counted, tables may be large."""
    first = (page - 1) * ROWS_PER_PAGE
    found = list(rows[first : first + ROWS_PER_PAGE + 1])
    return found[:ROWS_PER_PAGE], len(found) > ROWS_PER_PAGE


def when(moment: datetime | None) -> Cell:
    """Return a moment in the utility's zone."""
    if moment is None:
        return Cell(_("never"), "warn")
    return Cell(date_format(moment.astimezone(utility_zone()), pgettext("in a list", "Y-m-d g:i:s A")))


def count(number: int) -> Cell:
    """Return a whole number."""
    return Cell(f"{number:,}", "number")


def day(on: date | None, otherwise: str = "") -> Cell:
    """Return a day of the utility."""
    return Cell(otherwise if on is None else on.isoformat(), "day")


def last_day(end: date) -> date:
    """Return the last day of a time of whole days, whose `end` is the day after it, or of one up to a moment."""
    if isinstance(end, datetime):
        return services.last_day(end)
    return end - timedelta(days=1)


def through(end: date | None, otherwise: str) -> Cell:
    """Return until when something goes on, its last day included as people say it."""
    return day(None if end is None else last_day(end), otherwise)


def days(start: date, end: date) -> str:
    """Return the days of a period, the last one included as people say it; `end` is the day after it."""
    return f"{start.isoformat()} \N{EN DASH} {last_day(end).isoformat()}"


def dial_text(raw_count: int, register: MeterRegister) -> str:
    """Return a count as the register's dial shows it, with its unit."""
    return f"{Decimal(raw_count).scaleb(register.scale):,f} {figures.symbol(register.unit)}"


def dollars(cents: int) -> str:
    """Return an amount of money as it is written in the United States, in either language."""
    return figures.money(cents)


def money(cents: int) -> Cell:
    """Return an amount of money."""
    return Cell(dollars(cents), "number")
