"""The only door to an account's choice: in comparisons with similar homes, or left out of them both ways."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import transaction

from portal.comparison.models import OptOut
from portal.core.clock import now
from portal.core.errors import Refused
from portal.core.services import audit
from portal.customers.permissions import Permission, may

if TYPE_CHECKING:
    from portal.core.models import User
    from portal.customers.models import Account


def left_out(account: Account) -> bool:
    """Tell whether an account's homes are left out of comparisons."""
    return OptOut.objects.filter(account=account).exists()


@transaction.atomic
def leave_out(account: Account, *, out: bool, actor: User) -> None:
    """Leave an account's homes out of comparisons, or take them in again; raises Refused without the permission."""
    if not may(actor, Permission.MANAGE, account):
        raise Refused("not-allowed", "only who manages the account may change this")
    if out:
        _, changed = OptOut.objects.get_or_create(account=account, defaults={"since": now(), "by": actor})
    else:
        changed = bool(OptOut.objects.filter(account=account).delete()[0])
    if changed:
        audit("comparison.leave-out" if out else "comparison.take-in", actor=actor, target=account)
