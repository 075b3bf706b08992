"""Sends several statements to the database at once: for PostgreSQL a question costs more than most answers."""

from __future__ import annotations

import re
from itertools import count
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from django.db import connection

if TYPE_CHECKING:
    from collections.abc import Sequence

Statement = tuple[str, "Sequence[Any]"]
"""SQL with %s for each parameter, and the parameters."""
_KEPT_MOST = 200
"""So many statements a connection keeps with their plans: more than all pages ask."""
_PARTS = re.compile("%[s%]")
_numbers = count(1)
_kept: WeakKeyDictionary[Any, dict[str, str]] = WeakKeyDictionary()
"""What each connection to PostgreSQL keeps: the text of a statement, and its name there."""


def run_together(statements: Sequence[Statement]) -> list[list[tuple[Any, ...]]]:
    """Run statements one after the other in the caller's transaction; return the rows of each.

    PostgreSQL gets them in one message; each still sees what was committed before it started.
    """
    if not statements:
        return []
    with connection.cursor() as cursor:
        if connection.vendor != "postgresql":
            return [_rows(cursor, cursor.execute(sql, parameters)) for sql, parameters in statements]
        return _asked(cursor, statements)


def ask_together(questions: Sequence[Statement]) -> list[list[tuple[Any, ...]]]:
    """Run SELECTs as `run_together` does; PostgreSQL keeps the plan of each text for as long as the connection lives.

    To plan what a page asks takes PostgreSQL four times as long as to answer it. For texts that come again and again,
    in which only parameters change.
    """
    if not questions or connection.vendor != "postgresql":
        return run_together(questions)
    with connection.cursor() as cursor:
        names = _kept.setdefault(connection.connection, {})
        new = {sql: f"kept_{next(_numbers)}" for sql, _ in questions if sql not in names}  # a name never comes twice
        if len(names) + len(new) > _KEPT_MOST:
            new = {}
        keeping = [(f"PREPARE {name} AS {_numbered(sql)}", ()) for sql, name in new.items()]
        asking = [_by_name({**names, **new}, sql, parameters) for sql, parameters in questions]
        found = _asked(cursor, [*keeping, *asking])
        names.update(new)
        return found[len(keeping) :]


def _numbered(sql: str) -> str:
    """Return a statement with $1, $2 and so on for its parameters."""
    places = count(1)
    return _PARTS.sub(lambda part: f"${next(places)}" if part[0] == "%s" else part[0], sql)


def _by_name(names: dict[str, str], sql: str, parameters: Sequence[Any]) -> Statement:
    if sql not in names:
        return sql, parameters
    given = f"({', '.join(['%s'] * len(parameters))})" if parameters else ""
    return f"EXECUTE {names[sql]}{given}", parameters


def _asked(cursor: Any, statements: Sequence[Statement]) -> list[list[tuple[Any, ...]]]:
    cursor.execute("; ".join(sql for sql, _ in statements), [part for _, parts in statements for part in parts])
    found = [_rows(cursor)]
    while cursor.nextset():
        found.append(_rows(cursor))
    return found


def _rows(cursor: Any, _: object = None) -> list[tuple[Any, ...]]:
    if connection.vendor == "postgresql":  # its `description` makes an object for every column
        return cursor.fetchall() if cursor.pgresult.nfields else []
    return cursor.fetchall() if cursor.description else []
