"""One service point and those who lived there one after the other, with somebody of every kind who asks for it.

Chicago days of 2026: Eve lived there from 1 March to 10 May, Ana from then on; while Ana was away (20 to 27 May) it was
Mia's. Now is 17 June, noon. The meter counts litres and is read every two hours; how much each used is an argument,
but what the dial showed when one followed the other never is: what a successor may see of it is the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

from django.test import Client

from portal.access import invitations
from portal.access.models import Invitation
from portal.alerts.kinds import Kind
from portal.alerts.models import Alert, AlertRecipient
from portal.billing.models import BillingAccount, Cycle, ServiceAgreement
from portal.core.models import ApiToken, User
from portal.core.tokens import SCOPES, make_token
from portal.customers import services as customers
from portal.customers.models import Account, AccountAccess, ServicePoint
from portal.metering.models import MeterRegister, RecentRead, RegisterState
from portal.metering.reads import to_us
from portal.service.models import ServiceRequest
from tests.portal.bills import make_account, make_bill
from tests.portal.building import NOON, home, total

if TYPE_CHECKING:
    from collections.abc import Callable

    from portal.billing.models import Bill

EVE_IN = datetime(2026, 3, 1, 6, 0, tzinfo=UTC)
ANA_IN = datetime(2026, 5, 10, 5, 0, tzinfo=UTC)
MIA_IN = datetime(2026, 5, 20, 5, 0, tzinfo=UTC)
ANA_BACK = datetime(2026, 5, 27, 5, 0, tzinfo=UTC)
STEP = timedelta(hours=2)
AT_EVES_END, AT_MIAS_START, AT_MIAS_END, AT_LAST = 500_000, 600_000, 640_000, 700_000
Level = AccountAccess.Level
GUESTS = (Level.VIEW_USAGE, Level.VIEW_BILLS, Level.PAY, Level.MANAGE_ALERTS, Level.MANAGE_ALL)


@dataclass
class Lived:
    """What one account left behind, and who holds it."""

    account: Account
    holder: User
    bill: Bill
    alert: Alert
    request: ServiceRequest


@dataclass
class World:
    """The service point, Ana's and Eve's accounts there, and clients by role."""

    point: ServicePoint
    register: MeterRegister
    ana: Lived
    eve: Lived
    guest: User
    invitation: Invitation
    passkey: str = "none"
    clients: dict[str, Client] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)

    def reads(self, *, eve: Callable[[int], int], ana: Callable[[int], int], mia: Callable[[int], int]) -> None:
        """Let the dial have turned as each used it: weights of the two-hour steps of their time."""
        RecentRead.objects.filter(register=self.register.pk).delete()
        rows: list[tuple[datetime, int]] = []
        for start, end, first, last, weight in (
            (EVE_IN, ANA_IN, AT_EVES_END - sum(map(eve, range(840))) * 10, AT_EVES_END, eve),
            (ANA_IN, MIA_IN, AT_EVES_END, AT_MIAS_START, ana),
            (MIA_IN, ANA_BACK, AT_MIAS_START, AT_MIAS_END, mia),
            (ANA_BACK, NOON, AT_MIAS_END, AT_LAST, ana),
        ):
            steps = (end - start) // STEP
            whole, so_far = sum(weight(n) for n in range(steps)) or 1, 0
            for n in range(steps):
                rows.append((start + n * STEP, first + (last - first) * so_far // whole))
                so_far += weight(n)
        rows.append((NOON, AT_LAST))
        RecentRead.objects.bulk_create(
            RecentRead(
                register=self.register.pk, read_us=to_us(at), raw_count=count, epoch=1, append_seq=number,
                quality=0, reason=0, flags=0,
            )
            for number, (at, count) in enumerate(rows, 1)
        )  # fmt: skip
        RegisterState.objects.update_or_create(
            register=self.register,
            defaults={"last_read_at": NOON, "last_count": AT_LAST, "last_quality": 0, "change_number": 1},
        )


def even(_step: int) -> int:
    """A weight for use that never changes."""
    return 1


def user(email: str, **fields: object) -> User:
    """A person with a confirmed address and no password: nothing here signs in by one."""
    from allauth.account.models import EmailAddress

    made = User.objects.create(email=email, **fields)
    EmailAddress.objects.create(user=made, email=email, verified=True, primary=True)
    return made


def world() -> World:
    """Build it all."""
    point, installation = home(total(modulus=10**8), EVE_IN, first_count=None)
    register = MeterRegister.objects.get(meter=installation.meter)
    type(installation).objects.filter(pk=installation.pk).update(register=register, first_count=400_000)
    eve = _lived("eve@example.org", "9000001", point, date(2026, 3, 1), EVE_IN, ANA_IN)
    ana = _lived("ana@example.org", "9000002", point, date(2026, 5, 10), ANA_IN, MIA_IN)
    mia = Account.objects.create(number="9000003", name="Mia")
    for account, start, end in ((mia, MIA_IN, ANA_BACK), (ana.account, ANA_BACK, None)):
        occupancy = customers.move_in(account, point, start)
        if end is not None:
            customers.move_out(occupancy, end)
    guests = {level: user(f"{level.value}@example.org") for level in GUESTS}
    for level, person in guests.items():
        customers.grant_access(ana.account, person, at=ANA_BACK, level=level)
    ended = customers.grant_access(ana.account, user("ended@example.org"), at=ANA_BACK)
    customers.end_access(ended, at=ANA_BACK)
    invitation = invitations.invite(
        ana.account, "invited@example.org", "manage-all", actor=ana.holder, site="https://w"
    )
    made = World(point, register, ana, eve, guests[Level.VIEW_USAGE], invitation)
    made.reads(eve=even, ana=even, mia=even)
    gone = user("inactive@example.org")
    customers.grant_access(ana.account, gone, at=ANA_BACK)
    stranger = make_account(user=user("stranger@example.org"), address="3 Oak Lane", name="Sue")
    people = {
        "stranger": stranger.users.get(),
        "holder": ana.holder,
        **{level.value: person for level, person in guests.items()},
        "ended": ended.user,
        "invited": user("invited@example.org"),
        "earlier": eve.holder,
        "staff": user("staff@example.org", is_staff=True),
        "looking": user("looking@example.org", is_staff=True),
        "inactive": gone,
    }
    made.clients = {"nobody": Client(), **{role: _signed_in(person) for role, person in people.items()}}
    made.tokens = {role: make_token(person, scopes=SCOPES)[0] for role, person in people.items()}
    User.objects.filter(pk=gone.pk).update(is_active=False)
    address = f"/staff/accounts/{ana.account.public_id}/look/"
    answer = made.clients["looking"].post(address, {"reason": "asked about the June bill"})
    assert answer.status_code in (302, 303), answer.content
    assert ApiToken.objects.count() == len(people)
    return made


def _lived(email: str, number: str, point: ServicePoint, day: date, start: datetime, end: datetime) -> Lived:
    account, holder = Account.objects.create(number=number, name=email.split("@")[0].title()), user(email)
    customers.move_out(customers.move_in(account, point, start), end)
    customers.grant_access(account, holder, at=start)
    _billed(account, point, day, email)
    bill = make_bill(account, period_start=day, period_end=day + timedelta(days=30))
    alert = Alert.objects.create(
        key=f"test:{number}",
        kind=Kind.LEAK,
        account=account,
        service_point=point,
        since=start,
        happened_at=start + timedelta(days=2),
        opened_at=start + timedelta(days=2),
        evidence={"rule": "continuous", "litres_per_h": 38},
    )
    AlertRecipient.objects.create(alert=alert, user=holder)
    request = ServiceRequest.objects.create(
        key=number, account=account, kind="other", details="please call", made_at=start, state_at=start, asked_by=holder
    )
    return Lived(account, holder, bill, alert, request)


def _billed(account: Account, point: ServicePoint, day: date, email: str) -> None:
    """Let an account get bills for a service point from a day on."""
    cycle, _ = Cycle.objects.get_or_create(code="M1", defaults={"read_day": 1})
    BillingAccount.objects.create(account=account, cycle=cycle, email=email, opened_on=day)
    ServiceAgreement.objects.create(
        account=account,
        service_point=point,
        rate_class="residential",
        start=day,
        end=None if day == date(2026, 5, 10) else date(2026, 5, 10),
        inputs={"dwelling_units": 1},
    )


def _signed_in(person: User) -> Client:
    client = Client()
    client.force_login(person)
    return client
