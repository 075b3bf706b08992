"""What every kind of file is to the import: its columns, and how its rows compare with what is there."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from portal.core.models import AuditEntry

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from django.db import models
    from django.utils.functional import Promise

    from portal.core.models import User
    from portal.importing.columns import Column, Findings, Row

AT_ONCE = 500
"""Rows that go to the database with one statement."""


@dataclass(frozen=True, slots=True)
class By:
    """Who imports, and when."""

    user: User | None
    label: str
    at: datetime


@dataclass(slots=True)
class Outcome:
    """What a file would change.

    write   does it, in the caller's transaction. changes: (row, what was and will be) of rows that are changed.
    totals  sums that a person can compare with the other system, as text.
    """

    new: int = 0
    changed: int = 0
    unchanged: int = 0
    write: Callable[[By], None] = field(default=lambda by: None)
    totals: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of file.

    extra    other columns are inputs of the rate book.
    compare  finds the problems that only the database and the other rows show, and what would change.
    """

    name: str
    title: str | Promise
    columns: tuple[Column, ...]
    compare: Callable[[list[Row], Findings], Outcome]
    extra: bool = False
    extra_examples: tuple[tuple[str, str], ...] = ()


def differences(row: models.Model, values: dict[str, Any]) -> dict[str, list[Any]]:
    """Return {field: [now, then]} of the values that are given (not None) and differ from the row's."""
    return {
        name: [getattr(row, name), value]
        for name, value in values.items()
        if value is not None and getattr(row, name) != value
    }


def audit_changes(action: str, changes: Sequence[tuple[models.Model, dict[str, list[Any]]]], by: By) -> None:
    """Write one audit entry for each changed row, in bulk."""
    entries = [
        AuditEntry(
            action=action,
            actor=by.user,
            actor_label=by.label or (by.user.public_id if by.user else "system"),
            target_type=row._meta.label_lower,
            target_id=str(getattr(row, "public_id", row.pk)),
            detail={name: [_plain(one), _plain(other)] for name, (one, other) in change.items()},
        )
        for row, change in changes
    ]
    AuditEntry.objects.bulk_create(entries, batch_size=AT_ONCE)


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | bool | list | dict | None) else str(value)
