"""What the office heard about a leak when it called, wrote or knocked: entries of the audit log, never changed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from django.db import transaction
from django.utils.translation import gettext as _

from portal.core.clock import now
from portal.core.errors import Refused
from portal.core.models import AuditEntry
from portal.core.services import audit, utility_zone

if TYPE_CHECKING:
    from collections.abc import Iterable

    from portal.core.models import User
    from portal.metering.models import LeakCase

ACTION = "leak.contact"
NOTE_CHARS_MIN = 3
NOTE_CHARS_MAX = 200


@dataclass(frozen=True, slots=True)
class Contact:
    """One contact about a leak: on which day, what was said, who wrote it down."""

    on: date
    note: str
    by: str


@transaction.atomic
def note_contact(case: LeakCase, on: date, note: str, *, actor: User) -> None:
    """Write down a contact with whoever uses the water.

    raises  Refused(`note`) for one too short or too long, Refused(`day`) for a day in the future or before the leak.
    """
    note = " ".join(note.split())
    if not NOTE_CHARS_MIN <= len(note) <= NOTE_CHARS_MAX:
        raise Refused("note", _("Write in a few words what was said, such as: called, will repair on Friday."))
    zone = utility_zone()
    if not case.opened_at.astimezone(zone).date() <= on <= now().astimezone(zone).date():
        raise Refused("day", _("Choose the day of the contact: from the day of the leak to today."))
    audit(ACTION, actor=actor, target=case, reason=note, detail={"on": on.isoformat()})


def contacts_of(cases: Iterable[LeakCase]) -> dict[str, list[Contact]]:
    """Return the contacts about leak cases by the cases' public ids, the newest first."""
    found: dict[str, list[Contact]] = {}
    rows = AuditEntry.objects.filter(
        action=ACTION, target_type="metering.leakcase", target_id__in=[case.public_id for case in cases]
    ).select_related("actor")
    for row in rows.order_by("-pk"):
        by = row.actor.get_full_name() if row.actor else row.actor_label
        contact = Contact(date.fromisoformat(row.detail["on"]), row.reason, by)
        found.setdefault(row.target_id, []).append(contact)
    return found
