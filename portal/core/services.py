"""The shared services: the utility's settings, the audit log, the change counter."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.db import connection

from portal.core.models import AuditEntry, ChangeCounter, User, UtilitySettings
from portal.core.prepared import Prepared
from portal.core.remembering import remembered
from portal.core.statements import run_together

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date, datetime
    from zoneinfo import ZoneInfo

    from django.db import models

    from portal.core.statements import Statement

CHANGES_CHANNEL = "headwater_changes"


def utility_settings() -> UtilitySettings:
    """Return the utility's one row; its defaults when nothing was saved yet."""
    return remembered("utility", lambda: next(iter(UTILITY()), None) or UtilitySettings(pk=1))


UTILITY: Prepared[UtilitySettings] = Prepared(lambda: UtilitySettings.objects.filter(pk=1))


def utility_zone() -> ZoneInfo:
    """Return the zone in which the utility's hours, days and months are cut."""
    return utility_settings().zone_info


def last_day(end: datetime) -> date:
    """Return the last day, inclusive, of a time whose end is exclusive."""
    return (end - timedelta(microseconds=1)).astimezone(utility_zone()).date()


def audit(
    action: str,
    *,
    actor: User | None = None,
    label: str = "",
    target: models.Model | None = None,
    reason: str = "",
    detail: Mapping[str, Any] | None = None,
) -> AuditEntry:
    """Write one audit entry, in the caller's transaction.

    label  who acted when it was not a signed-in user: `collector hw-1`, `command line`, `worker`.
    """
    return AuditEntry.objects.create(
        action=action,
        actor=actor,
        actor_label=label or (actor.public_id if actor else "system"),
        target_type=target._meta.label_lower if target else "",
        target_id=str(getattr(target, "public_id", target.pk)) if target else "",
        reason=reason,
        detail=dict(detail or {}),
    )


def current_change() -> int:
    """Return the number of the last commit that changed what residents see."""
    if (known := CHANGE.known()) is not None:
        return known[0] if known else 0
    with connection.cursor() as cursor:  # every page and stream asks: without what a model adds
        cursor.execute("SELECT value FROM core_changecounter WHERE id = 1")
        row = cursor.fetchone()
    return int(row[0]) if row else 0


CHANGE: Prepared[int] = Prepared(lambda: ChangeCounter.objects.filter(pk=1).values_list("value", flat=True))


def bump_change() -> int:
    """Count this transaction as a change and return its number.

    Holds the counter's row until commit, so that numbers are committed in their order; call it last. On PostgreSQL
    listeners on CHANGES_CHANNEL get the number at commit.
    """
    return bump_change_and(())


def bump_change_and(then: Sequence[Statement], *, first: Sequence[Statement] = ()) -> int:
    """Count this transaction as a change and return the number.

    first, then  statements that run before and after it, in one message; the later ones may use CHANGE_NUMBER.
    """
    return int(run_together([*first, _bump(), *then])[len(first)][0][0])


CHANGE_NUMBER = "(SELECT value FROM core_changecounter WHERE id = 1)"
"""In SQL: the number of the transaction's change, once it was counted."""

_BUMP = (
    "INSERT INTO core_changecounter (id, value) VALUES (1, 1) "
    "ON CONFLICT (id) DO UPDATE SET value = core_changecounter.value + 1 RETURNING value"
)


def _bump() -> Statement:
    if connection.vendor == "postgresql":
        return f"WITH bumped AS ({_BUMP}) SELECT value, pg_notify(%s, value::text) FROM bumped", [CHANGES_CHANNEL]  # noqa: S608
    return _BUMP, []
