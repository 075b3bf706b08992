"""What a usage page is going to ask, asked in few messages: the answers wait where each part of a page looks for them.

Nothing depends on it: what was not asked ahead is asked when it is needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from portal.billing.bills import FIRST_DAY, LAST_END
from portal.billing.shelf import STANDING_BOOKS
from portal.billing.winter import STANDING_WINTERS
from portal.core.prepared import ask_ahead
from portal.core.remembering import remembered
from portal.core.services import CHANGE, UTILITY
from portal.customers.permissions import LEVELS_OF
from portal.customers.services import LIVED_BY
from portal.metering.spans import HUNG, REGISTERS, hung_at
from portal.notifications.bounces import BAD_ADDRESS
from portal.resident.banners import MOMENT
from portal.resident.costs import LIVING
from portal.resident.leak import OLDEST
from portal.resident.services import UNIT_OF
from portal.service.services import SHOWN_AT

if TYPE_CHECKING:
    from datetime import datetime

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


def ask_of_place(who: Viewer, point: ServicePoint, moment: datetime) -> None:
    """Ask what follows from the place that is looked at."""
    ask_ahead((HUNG, point.pk), (OLDEST, (point.pk,)), (LIVING, moment, point.pk, who.user.pk))


def ask_of_meters(point: ServicePoint, account: Account | None) -> None:
    """Ask what follows from the meters of the place and from the account that lives there."""
    meters = tuple(sorted({row.meter_id for row in hung_at(point.pk)}))
    of_account = [] if account is None else [(query, account.pk) for query in (LAST_END, FIRST_DAY)]
    winters = [] if account is None else [(STANDING_WINTERS, (account.pk,))]
    ask_ahead((REGISTERS, meters), *of_account, *winters)
