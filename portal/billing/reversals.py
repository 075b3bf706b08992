"""What staff may reverse in the journal by hand, and what has a way of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.utils.translation import gettext as _

from portal.core.errors import Refused
from portal.ledger.services import reverse

if TYPE_CHECKING:
    from portal.core.models import User
    from portal.ledger.models import JournalEntry

REVERSIBLE = frozenset({"payment", "adjustment", "opening"})
"""A bill is cancelled, a deposit given back: their rows must not say other things than the journal."""


def reverse_by_hand(entry: JournalEntry, *, reason: str, actor: User) -> JournalEntry:
    """Reverse an entry that was posted by mistake; raises Refused(`kind`, `reason`, `reversed`)."""
    if entry.kind not in REVERSIBLE:
        raise Refused("kind", _("This entry is not reversed here: cancel the bill, or give the deposit back."))
    if len(" ".join(reason.split())) < 8:
        raise Refused("reason", _("Write in a few words why it is reversed."))
    return reverse(entry, key=f"reversed:{entry.public_id}", reason=reason, actor=actor)
