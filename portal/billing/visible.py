"""Which bills a person may see: those that were sent, of accounts whose bills they may see now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portal.billing.models import Bill
from portal.customers.permissions import Permission, allowed

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from portal.core.models import User
    from portal.customers.permissions import Viewer

SENT = (Bill.State.ISSUED, Bill.State.CANCELLED)


def visible_bills(who: User | Viewer) -> QuerySet[Bill]:
    """Return the bills that a person may see; drafts are nobody's yet."""
    return Bill.objects.filter(
        allowed(who, Permission.BILLS, to="account__"), state__in=SENT, number__isnull=False
    ).distinct()
