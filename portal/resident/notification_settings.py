"""What the page "My Notifications" shows: each kind as a sentence with a person's choice, per account and meter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.utils.translation import gettext as _

from portal.alerts.choices import Choice
from portal.alerts.kinds import MONEY, RULES, Kind, Per
from portal.alerts.preferences import UNITS, lives_at, settings_of, thresholds_of
from portal.alerts.texts import threshold_text
from portal.alerts.usage_rules import TRICKLE_LITRES
from portal.billing.documents import figures
from portal.billing.models import BillingAccount
from portal.core.clock import now
from portal.customers.models import ServicePoint
from portal.customers.permissions import Permission, allowed_accounts, may
from portal.notifications.models import Channel
from portal.resident.wording import moment_text

if TYPE_CHECKING:
    from datetime import date
    from zoneinfo import ZoneInfo

    from portal.alerts.models import AlertSetting
    from portal.alerts.texts import Reader
    from portal.core.models import User
    from portal.customers.models import Account
    from portal.customers.permissions import Viewer

METER_KINDS = (Kind.LEAK, Kind.UNUSUAL, Kind.SILENT, Kind.NO_USE)
BILL_KINDS = (Kind.BILL_READY,)


@dataclass(frozen=True, slots=True)
class KindRow:
    """One kind as its form shows it. unit: of its number, `hours` or `days`; quiet: until when it is, in words."""

    kind: str
    title: str
    text: str
    on: bool
    by_email: bool
    by_sms: bool
    number: int | None
    number_label: str
    least: int
    most: int
    quiet: str


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit of a person's own, in words."""

    public_id: str
    text: str
    by_email: bool
    by_sms: bool


@dataclass(frozen=True, slots=True)
class Away:
    """A time away as it is set; days: None while none is set."""

    first_day: date | None
    last_day: date | None
    by_email: bool
    by_sms: bool


@dataclass(frozen=True, slots=True)
class MeterPart:
    """One meter. key: what makes the ids of its fields unique on the page."""

    key: str
    service_point: ServicePoint
    rows: tuple[KindRow, ...]
    limits: tuple[Limit, ...]
    away: Away


@dataclass(frozen=True, slots=True)
class AccountPart:
    """One account: its meters, and its bills where the person may see them. expected: the limit of a bill, or empty."""

    key: str
    account: Account
    meters: tuple[MeterPart, ...]
    general: tuple[KindRow, ...]
    due: KindRow | None
    expected: KindRow | None
    expected_amount: str
    money_limits: tuple[Limit, ...]
    paper: bool | None
    manages: bool


def account_parts(who: Viewer, person: User, reader: Reader) -> list[AccountPart]:
    """Return the parts of the page: a person's own choices for each account whose alerts they manage.

    person  whose choices are shown: the viewer's own, or the holder's while staff look.
    """
    accounts = list(allowed_accounts(who, Permission.ALERTS))
    return [_account(who, person, account, reader, f"a{place}") for place, account in enumerate(accounts, 1)]


def units() -> list[tuple[str, str]]:
    """Return what a limit may be given in: value and name."""
    return [(MONEY, _("dollars (whole account)")), *((unit.value, figures.unit_name(unit.value)) for unit in UNITS)]


def spans() -> list[tuple[str, str]]:
    """Return over which time a limit may count: value and name."""
    return [(Per.HOUR, _("in an hour")), (Per.DAY, _("in a day")), (Per.PERIOD, _("in a billing period"))]


def _account(who: Viewer, person: User, account: Account, reader: Reader, key: str) -> AccountPart:
    chosen, limits = settings_of(person, account), thresholds_of(person, account)
    bills = may(person, Permission.BILLS, account)
    expected = chosen.get((None, Kind.PROJECTED))
    billing = BillingAccount.objects.filter(account=account).first() if bills else None
    points = ServicePoint.objects.filter(occupancies__account=account).select_related("premise").distinct()
    meters = [point for point in points.order_by("premise__address", "label") if lives_at(account, point)]
    kinds = (*BILL_KINDS, Kind.SERVICE) if bills else (Kind.SERVICE,)
    return AccountPart(
        key=key,
        account=account,
        meters=tuple(
            _meter(person, account, point, chosen, limits, reader, f"{key}m{place}")
            for place, point in enumerate(meters, 1)
        ),
        general=tuple(_row(person, account, None, kind, chosen, reader.zone) for kind in kinds),
        due=_row(person, account, None, Kind.BILL_DUE, chosen, reader.zone) if bills else None,
        expected=_row(person, account, None, Kind.PROJECTED, chosen, reader.zone) if bills else None,
        expected_amount="" if expected is None or expected.amount is None else _plain(expected),
        money_limits=tuple(_limit(row) for row in limits if row.unit == MONEY) if bills else (),
        paper=None if billing is None else billing.paper,
        manages=not who.read_only and may(person, Permission.MANAGE, account),
    )


def _meter(
    person: User,
    account: Account,
    point: ServicePoint,
    chosen: dict[tuple[int | None, str], AlertSetting],
    limits: list[AlertSetting],
    reader: Reader,
    key: str,
) -> MeterPart:
    away = chosen.get((point.pk, Kind.VACATION))
    return MeterPart(
        key=key,
        service_point=point,
        rows=tuple(_row(person, account, point, kind, chosen, reader.zone) for kind in METER_KINDS),
        limits=tuple(_limit(row) for row in limits if row.service_point_id == point.pk),
        away=Away(None, None, True, False)
        if away is None or not away.on
        else Away(away.first_day, away.last_day, away.by_email, away.by_sms),
    )


def _row(
    person: User,
    account: Account,
    point: ServicePoint | None,
    kind: Kind,
    chosen: dict[tuple[int | None, str], AlertSetting],
    zone: ZoneInfo,
) -> KindRow:
    place = None if point is None else point.pk
    choice = Choice(person, account.pk, place, kind, chosen.get((place, kind)))
    rule, setting = RULES[kind], choice.setting
    title, text = _sentences(kind)
    quiet = setting is not None and choice.quiet_at(now())
    return KindRow(
        kind=kind.value,
        title=title,
        text=text,
        on=choice.on,
        by_email=Channel.EMAIL in choice.channels,
        by_sms=Channel.SMS in choice.channels,
        number=choice.number if rule.number is not None else None,
        number_label=_number_label(kind),
        least=rule.least,
        most=rule.most,
        quiet=moment_text(setting.quiet_until, zone) if quiet and setting and setting.quiet_until else "",
    )


def _limit(row: AlertSetting) -> Limit:
    return Limit(row.public_id, threshold_text(row), row.by_email, row.by_sms)


def _plain(setting: AlertSetting) -> str:
    assert setting.amount is not None
    return (
        f"{setting.amount.quantize(setting.amount.to_integral_value())}"
        if not setting.amount % 1
        else f"{setting.amount:.2f}"
    )


def trickle(reader: Reader) -> str:
    """Return how much use on a day away is nothing to tell of."""
    return reader.volume(TRICKLE_LITRES)


def _sentences(kind: Kind) -> tuple[str, str]:
    return {
        Kind.LEAK: (_("Leak"), _("Water has been running for hours without a pause. Once a day until you answer.")),
        Kind.UNUSUAL: (
            _("Unusual use"),
            _("An hour or a day takes more than twice what this home ever used at such times in the weeks before."),
        ),
        Kind.SILENT: (_("Meter not heard of"), _("The meter has sent nothing, so that no leak can be seen.")),
        Kind.NO_USE: (_("No use"), _("Nobody has used any water: for a home of someone you look after.")),
        Kind.BILL_READY: (_("Bill ready"), _("A new bill has been made.")),
        Kind.SERVICE: (_("Service notices"), _("Planned outages, and changes to this portal, with their dates.")),
        Kind.BILL_DUE: (_("Reminder that a bill is due"), _("Amount, date and the ways to pay, while it is open.")),
        Kind.PROJECTED: (
            _("High bill to be expected"),
            _("At the pace of the last four weeks it will be high."),
        ),
    }[kind]


def _number_label(kind: Kind) -> str:
    return {
        Kind.SILENT: _("after so many hours"),
        Kind.NO_USE: _("after so many days"),
        Kind.BILL_DUE: _("so many days before"),
    }.get(kind, "")
