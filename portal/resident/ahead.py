"""What a usage page is going to ask, asked in few messages: the answers wait where each part of a page looks for them.

Nothing depends on it: what was not asked ahead is asked when it is needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from portal.billing import projection
from portal.billing.bills import FIRST_DAY, LAST_END
from portal.billing.gathering import AGREEMENTS
from portal.billing.shelf import STANDING_BOOKS
from portal.billing.winter import STANDING_WINTERS
from portal.core.prepared import ask_ahead
from portal.core.remembering import remembered
from portal.core.services import CHANGE, UTILITY
from portal.customers.permissions import LEVELS_OF
from portal.customers.services import LIVED_BY
from portal.metering.points import asks_of, judged_and_extra
from portal.metering.spans import HUNG, REGISTERS, counters_of, hung_at
from portal.notifications.bounces import BAD_ADDRESS
from portal.resident.banners import MOMENT
from portal.resident.costs import LIVING
from portal.resident.leak import OLDEST
from portal.resident.services import UNIT_OF
from portal.service.services import SHOWN_AT

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from portal.core.prepared import Ask
    from portal.customers.models import Account, ServicePoint
    from portal.customers.permissions import Viewer


def ask_of_person(who: Viewer, moment: datetime) -> None:
    """Ask what follows from who looks."""
    person, moment = who.user, remembered(MOMENT, lambda: moment)
    ask_ahead(
        (CHANGE,),  # first: what is committed later is announced by the stream
        (LIVED_BY, person.pk),
        (LEVELS_OF, person.pk),
        (UNIT_OF, person.pk),
        (UTILITY,),
        (STANDING_BOOKS,),
        (BAD_ADDRESS, person.email.lower()),
        (SHOWN_AT, moment),
    )


def ask_of_place(who: Viewer, shown: Sequence[ServicePoint], home: Sequence[ServicePoint], moment: datetime) -> None:
    """Ask what follows from the service points that are shown, and from the others of their home: a bill is of all."""
    hung = ((HUNG, one.pk) for one in home)
    ask_ahead(*hung, (OLDEST, tuple(sorted(one.pk for one in shown))), (LIVING, moment, shown[0].pk, who.user.pk))


def ask_of_meters(home: Sequence[ServicePoint], account: Account | None, moment: datetime) -> None:
    """Ask what follows from the meters of the place and from the account that lives there."""
    meters = {row.meter_id for one in home for row in hung_at(one.pk)}
    of_account: list[Ask] = []
    if account is not None:
        of_account = [(query, account.pk) for query in (LAST_END, FIRST_DAY, AGREEMENTS)]
        of_account.append((STANDING_WINTERS, (account.pk,)))
    ask_ahead((REGISTERS, tuple(sorted(meters))), *of_account)
    counters = counters_of(meters)
    registers = [register.pk for of_meter in counters.values() for counter in of_meter for register in counter]
    ask_ahead(*asks_of(registers), *([] if account is None else projection.asks_of(account, moment)))
    judged_and_extra(registers)
