"""`headwater portal load`: premises, accounts, residents, meters and installations from one JSON file; idempotent."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING, Any

from allauth.account.models import EmailAddress
from django.contrib.auth.models import Permission
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction

from domain.errors import ConfigError
from domain.ids import MeterId, RegisterId
from domain.reading import Register
from domain.units import Unit
from portal.core.clock import now
from portal.core.models import User, UtilitySettings
from portal.core.utility import MAY_CHANGE, SettingsFaults, change_utility
from portal.customers import services as customers
from portal.customers.models import Account, AccountAccess, Occupancy, ServicePoint
from portal.metering import services as metering
from portal.metering.models import Installation, MeterRegister

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_LABEL = "command line"
_PARTS = {"utility", "staff", "residents", "premises"}
_UTILITY = (
    "name", "zone", "contact_email", "contact_phone", "portal_url", "postal_address", "ways_to_pay", "dispute",
    "office_hours", "contacts", "emergency_phone", "programme_url", "programme_title", "old_portal_url",
    "old_portal_ends_on", "goes_live_on", "invitation_days", "default_language", "accessibility_reviewed_on",
)  # fmt: skip


@transaction.atomic
def load(data: Mapping[str, Any]) -> dict[str, int]:
    """Bring the database up to what the file says; return how many rows of each sort were made.

    What is there already is left as it is, passwords too. raises ConfigError naming the place of a fault; then nothing
    is changed.
    """
    made: Counter[str] = Counter()
    if unknown := set(data) - _PARTS:
        raise ConfigError([f"{name}: unknown key; expected {', '.join(sorted(_PARTS))}" for name in sorted(unknown)])
    _utility(data.get("utility", {}))
    for place, rows, is_staff in (
        ("staff", data.get("staff", ()), True),
        ("residents", data.get("residents", ()), False),
    ):
        for number, row in enumerate(rows):
            _at(f"{place}[{number}]", lambda row=row, is_staff=is_staff: _user(row, made, is_staff=is_staff))
    for number, row in enumerate(data.get("premises", ())):
        _at(f"premises[{number}]", lambda row=row: _premise(row, made))
    return {name: count for name, count in made.items() if count}


def _at(place: str, step: Any) -> None:
    """Run one step; a key that is missing or a value that will not do becomes a ConfigError that names the place."""
    try:
        step()
    except KeyError as error:
        raise ConfigError(f"{place}: {error} is missing") from error
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{place}: {error}") from error


def _utility(row: Mapping[str, Any]) -> None:
    if unknown := set(row).difference(_UTILITY):
        raise ConfigError([f"utility.{name}: unknown key; expected {', '.join(_UTILITY)}" for name in sorted(unknown)])
    if not row:
        UtilitySettings.objects.get_or_create(pk=1)
        return
    try:
        change_utility(row, label=_LABEL)
    except SettingsFaults as error:
        raise ConfigError([f"utility.{name} = {row.get(name)!r}: {text}" for name, text in error.faults]) from error


def _user(row: Mapping[str, Any], made: Counter[str], *, is_staff: bool) -> None:
    email = row["email"].strip().lower()
    try:
        validate_email(email)
    except ValidationError as error:
        raise ValueError(f"{row['email']!r} is not an email address") from error
    user = User.objects.filter(email=email).first()
    if user is None:
        user = User.objects.create_user(
            email, row.get("password"), name=row.get("name", ""), is_staff=is_staff, date_joined=now()
        )
        made["users"] += 1
    if is_staff and row.get("may_change_settings"):
        app, _, codename = MAY_CHANGE.partition(".")
        user.user_permissions.add(Permission.objects.get(content_type__app_label=app, codename=codename))
    EmailAddress.objects.get_or_create(user=user, email=email, defaults={"verified": True, "primary": True})


def _premise(row: Mapping[str, Any], made: Counter[str]) -> None:
    service_point = customers.ensure_premise(row["address"])
    if (meter := row.get("meter")) is not None:
        _install(meter, service_point, _moment(row["installed_at"]), made)
    if row.get("account") is not None:
        _occupy(row, service_point, made)


def _install(row: Mapping[str, Any], service_point: ServicePoint, start: datetime, made: Counter[str]) -> None:
    register = metering.claim_register(
        Register(
            meter_id=MeterId(row["meter_id"]),
            register_id=RegisterId(row.get("register_id", "total")),
            unit=Unit(row["unit"]),
            scale=row["scale"],
            modulus=row.get("modulus"),
        ),
        at=start,
    )
    if Installation.objects.filter(meter=register.meter, service_point=service_point, start=start).exists():
        return
    _make_installation(register, service_point, start, row.get("start_count"))
    made["installations"] += 1


def _make_installation(
    register: MeterRegister, service_point: ServicePoint, start: datetime, first_count: int | None
) -> None:
    metering.install_meter(
        register.meter, service_point, start, register=register, first_count=first_count, label=_LABEL
    )


def _occupy(row: Mapping[str, Any], service_point: ServicePoint, made: Counter[str]) -> None:
    start = _moment(row["occupied_from"])
    account, is_new = Account.objects.get_or_create(number=str(row["account"]), defaults={"name": row.get("name", "")})
    made["accounts"] += is_new
    if not Occupancy.objects.filter(account=account, service_point=service_point, start=start).exists():
        customers.move_in(account, service_point, start, label=_LABEL)
        made["occupancies"] += 1
    residents: Sequence[str] = [row["resident"]] if row.get("resident") else []
    for email in residents:
        user = User.objects.filter(email=email.strip().lower()).first()
        if user is None:
            raise ValueError(f"resident {email!r} is not among the residents")
        # Access that staff have ended stays ended, however often the file is loaded.
        if not AccountAccess.objects.filter(account=account, user=user).exists():
            customers.grant_access(account, user, at=start, label=_LABEL)


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no offset; write it as 2026-01-31T12:00:00+00:00")
    return moment
