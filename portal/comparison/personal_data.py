"""What is held about a person in comparisons: whose homes they took out of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.utils.translation import gettext_lazy

from portal.comparison.models import OptOut
from portal.core.personal_data import PersonalData

if TYPE_CHECKING:
    from collections.abc import Iterator

    from portal.core.models import User


def _left_out(user: User) -> Iterator[dict[str, object]]:
    for row in OptOut.objects.filter(by=user).select_related("account").order_by("since"):
        yield {"account": row.account.number, "since": row.since}


def _erase_left_out(user: User) -> int:
    return OptOut.objects.filter(by=user).update(by=None)


LEFT_OUT = PersonalData(
    "left-out-of-comparisons",
    _left_out,
    _erase_left_out,
    kept=gettext_lazy("That an account takes no part in comparisons stays with the account."),
)
