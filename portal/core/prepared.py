"""Queries that pages ask with every request: their SQL is worked out once for a process, then only the values change.

To put a queryset into SQL takes Django longer than PostgreSQL takes to answer it, and the text is the same for every
person. What a query says still stands in one place as a queryset, and its rows come back as Django makes them.
"""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from weakref import WeakKeyDictionary

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.models import QuerySet

from portal.core.remembering import remembered
from portal.core.statements import ask_together

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from django.db.models.sql.compiler import SQLCompiler

Row = TypeVar("Row")
Value = int | str | datetime | date
Given = Value | tuple[int, ...] | tuple[date, ...]
_MARK_INT, _MARK_MOMENT = 1_900_000_001, datetime(1907, 3, 1, 5, 7, 9, tzinfo=UTC)
_OF_COMPILER = ("select", "klass_info", "annotation_col_map", "col_count", "has_extra_select")
_SHAPES_MOST = 64
_TRANSLATORS = "translators of prepared queries"


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class _Ready:
    """A queryset as SQL.

    params      its parameters, the marks among them.
    places      for each parameter which of the values it is, None for what is always the same.
    converters  what makes a column's value of what the database says.
    """

    queryset: QuerySet[Any]
    compiler: SQLCompiler
    sql: str
    params: tuple[Any, ...]
    places: tuple[int | None, ...]
    converters: dict[int, Any]


class Prepared(Generic[Row]):
    """A queryset that is asked again and again: `Prepared(lambda account: Bill.objects.filter(account=account))(7)`.

    build  makes the queryset of the values: numbers (row ids), texts, moments, days, or tuples of such for `__in`.
           It may only hand them on to lookups that compare them as they are: what it does must not depend on them.
    """

    def __init__(self, build: Callable[..., QuerySet[Any, Row]]) -> None:
        self._build = build
        self._ready: dict[Hashable, _Ready] = {}

    def __call__(self, *given: Given) -> list[Row]:
        """Return the rows for these values; none at all for an empty tuple."""
        if () in given:
            return []
        if (known := self.known(*given)) is not None:
            return list(known)
        connection = connections[DEFAULT_DB_ALIAS]
        ready, params = self._bound(given, connection)
        return _rows_of(ready, connection, ask_together([(ready.sql, params)])[0])

    def known(self, *given: Given) -> list[Row] | None:
        """Return the rows if this page asked for them ahead, else None."""
        found: list[Row] | None = _asked_ahead().get((self, given))
        return found

    def _bound(self, given: Sequence[Given], connection: Any) -> tuple[_Ready, tuple[Any, ...]]:
        shape = (
            connection.vendor,
            *((len(one), type(one[0])) if isinstance(one, tuple) else type(one) for one in given),
        )
        ready = self._ready.get(shape)
        if ready is None:
            ready = self._made(given, connection)
            if len(self._ready) < _SHAPES_MOST:
                self._ready[shape] = ready
        flat = _flat(given)
        params = tuple(
            fixed if place is None else _as_parameter(flat[place], fixed, connection)
            for fixed, place in zip(ready.params, ready.places, strict=True)
        )
        return ready, params

    def _made(self, given: Sequence[Given], connection: Any) -> _Ready:
        marks = _marks(given)
        queryset = self._build(*marks)
        compiler = queryset.query.get_compiler(connection=connection)
        sql, params = compiler.as_sql()
        flat = _flat(marks)
        where = {_as_parameter(mark, mark, connection): place for place, mark in enumerate(flat)}
        places = tuple(where.get(param) for param in params)
        if set(where.values()) - set(places):
            raise TypeError("a prepared query hands a value on in another way than to compare it")
        if connection.vendor == "postgresql":  # it knows the plan by the text, and plans better what stands there
            sql = _written_out(sql, params, places, connection)
            params, places = (
                [param for param, place in zip(params, places, strict=True) if place is not None],
                tuple(place for place in places if place is not None),
            )
        converters = compiler.get_converters([column for column, _, _ in compiler.select[: compiler.col_count]])
        return _Ready(queryset, compiler, sql, tuple(params), places, converters)


def _written_out(sql: str, params: Sequence[Any], places: Sequence[int | None], connection: Any) -> str:
    """Return SQL with what is always the same in the place of its parameter."""
    given = iter(zip(params, places, strict=True))

    def part(found: re.Match[str]) -> str:
        if found[0] == "%%":
            return found[0]
        param, place = next(given)
        if place is not None:
            return found[0]
        text: str = connection.ops.compose_sql("%s", [param])
        return text.replace("%", "%%")

    return re.sub("%[s%]", part, sql)


def _flat(values: Sequence[Any]) -> list[Any]:
    return [one for value in values for one in (value if isinstance(value, tuple) else (value,))]


def _marks(given: Sequence[Given]) -> list[Any]:
    """Return values of the same kinds, all different, by which the places of the given ones are found in the SQL."""
    numbers = count()
    return [
        tuple(_mark(one, next(numbers)) for one in value) if isinstance(value, tuple) else _mark(value, next(numbers))
        for value in given
    ]


def _mark(value: Value, number: int) -> Value:
    if isinstance(value, datetime):
        return _MARK_MOMENT + timedelta(seconds=number)
    if isinstance(value, date):
        return _MARK_MOMENT.date() + timedelta(days=number)
    return _MARK_INT + number if isinstance(value, int) else f"mark {number} of a prepared query"


def _as_parameter(value: Any, like: Any, connection: Any) -> Any:
    """Return a value as the database is given it."""
    if isinstance(value, datetime):
        return connection.ops.adapt_datetimefield_value(value)
    if isinstance(value, date):
        return connection.ops.adapt_datefield_value(value)
    return type(like)(value) if isinstance(value, int) else value


Ask = tuple[Prepared[Any], *tuple[Given, ...]]
"""A prepared query and its values."""


def ask_ahead(*asks: Ask) -> None:
    """Ask what this page is going to ask, (prepared query, its values) each, in one message where the database can.

    Whoever asks later gets the same rows. It does nothing outside `remembering`: nobody could be given them.
    """
    ahead, connection = _asked_ahead(), connections[DEFAULT_DB_ALIAS]
    if ahead is not _asked_ahead():
        return
    wanted = [(one[0], one[1:]) for one in asks if () not in one[1:] and (one[0], one[1:]) not in ahead]
    bound = [query._bound(given, connection) for query, given in wanted]
    found = ask_together([(ready.sql, params) for ready, params in bound])
    for key, (ready, _), rows in zip(wanted, bound, found, strict=True):
        ahead[key] = _rows_of(ready, connection, rows)


def _asked_ahead() -> dict[Hashable, list[Any]]:
    nothing: Callable[[], dict[Hashable, list[Any]]] = dict
    return remembered("asked ahead", nothing)


def _rows_of(ready: _Ready, connection: Any, found: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Return what the database said as Django would have made it of the queryset."""
    translators = vars(connection).setdefault(_TRANSLATORS, WeakKeyDictionary[_Ready, _Translator]())
    if ready not in translators:
        translators[ready] = _Translator(ready, connection)
    rows: list[Any] = translators[ready].rows(found)
    return rows


class _Translator:
    """A queryset that is told what its query found in place of asking. Of one connection, as that is of one thread."""

    def __init__(self, ready: _Ready, connection: Any) -> None:
        self._said: Sequence[tuple[Any, ...]] = ()
        converters = ready.converters
        self._compiler = type(ready.compiler)(ready.queryset.query, connection, connection.alias)
        for name in _OF_COMPILER:
            setattr(self._compiler, name, getattr(ready.compiler, name))
        self._compiler.__dict__["execute_sql"] = lambda *_, **__: [self._said]
        self._compiler.__dict__["get_converters"] = lambda *_: converters
        query = copy.copy(ready.queryset.query)
        query.__dict__["get_compiler"] = lambda *_, **__: self._compiler
        queryset: Any = QuerySet(model=ready.queryset.model, query=query, using=connection.alias)
        queryset._fields = ready.queryset._fields  # type: ignore[attr-defined]
        self._rows: Any = ready.queryset._iterable_class(queryset)

    def rows(self, found: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Return the rows."""
        if not found:
            return []
        if self._compiler.has_extra_select:
            found = [row[: self._compiler.col_count] for row in found]
        self._said = found
        try:
            return list(self._rows)
        finally:
            self._said = ()
