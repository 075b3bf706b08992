"""What money does by itself each day: late fees are charged, budget plans end."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from portal.billing.budget import close_settled, remove_late
from portal.billing.fees import charge_late_fees
from portal.billing.shelf import standing_shelf
from portal.core.services import utility_zone
from rates.errors import InputError

if TYPE_CHECKING:
    from datetime import date, datetime

    from rates.policies import Policies

_LOG = logging.getLogger(__name__)


def policies_on(day: date) -> Policies | None:
    """Return the utility's rules on a day; None before a rate book is approved."""
    try:
        return standing_shelf().on(day).book.policies(day)
    except InputError:
        return None


def daily_money(moment: datetime) -> None:
    """Charge late fees, end budget plans that were settled or paid late; doing it again adds nothing."""
    day = moment.astimezone(utility_zone()).date()
    rules = policies_on(day)
    if rules is None:
        return
    fees = charge_late_fees(day, rules)
    ended = [*close_settled(day), *remove_late(day)]
    if fees or ended:
        _LOG.info("%d late fees charged, %d budget plans ended", len(fees), len(ended))
