"""Sends several statements to the database at once: for PostgreSQL a question costs more than most answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import connection

if TYPE_CHECKING:
    from collections.abc import Sequence

Statement = tuple[str, "Sequence[Any]"]
"""SQL with %s for each parameter, and the parameters."""


def run_together(statements: Sequence[Statement]) -> list[list[tuple[Any, ...]]]:
    """Run statements one after the other in the caller's transaction; return the rows of each.

    PostgreSQL gets them in one message; each still sees what was committed before it started.
    """
    if not statements:
        return []
    with connection.cursor() as cursor:
        if connection.vendor != "postgresql":
            return [_rows(cursor, cursor.execute(sql, parameters)) for sql, parameters in statements]
        cursor.execute("; ".join(sql for sql, _ in statements), [part for _, parts in statements for part in parts])
        found = [_rows(cursor)]
        while cursor.nextset():
            found.append(_rows(cursor))
        return found


def _rows(cursor: Any, _: object = None) -> list[tuple[Any, ...]]:
    return cursor.fetchall() if cursor.description else []
