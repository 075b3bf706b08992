"""Homes whose meters are read often, people who are told, and what was sent to them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from allauth.account.models import EmailAddress

from portal.alerts.evaluation import look_at_bills, look_at_leaks, look_at_notices, look_at_usage
from portal.core.models import User
from portal.core.services import bump_change, utility_settings
from portal.customers.models import Account, AccountAccess
from portal.customers.services import grant_access
from portal.metering.models import LeakCase, RecentRead, RegisterState
from portal.notifications.models import Message
from tests.portal.metered_homes import MAY, Home, metered_home

if TYPE_CHECKING:
    from collections.abc import Sequence

    from portal.customers.models import ServicePoint

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
WEDNESDAY = datetime.fromisoformat("2026-06-17T05:00:00+00:00")
"""Midnight in Chicago: 47 days after MAY."""


def reader(email: str = "ana@example.org", *, language: str = "en", verified: bool = True) -> User:
    """A person who can be written to; nobody signs in by a password here."""
    user = User.objects.create(email=email, language=language)
    EmailAddress.objects.create(user=user, email=email, verified=verified, primary=True)
    return user


def home_of(user: User, *, number: int = 1, start: datetime = MAY) -> Home:
    """A home that a person holds, its meter counting litres."""
    settings = utility_settings()
    settings.portal_url = "https://portal.example.gov"
    settings.save()
    return metered_home(start, number=number, user=user)


def lived_in(user: User, *, days: int = 47, litres: int = 480, number: int = 1) -> Home:
    """A home with a past: the same use in every hour of every day up to WEDNESDAY."""
    home = home_of(user, number=number, start=WEDNESDAY - days * DAY).read_daily(days, litres, reads_a_day=24)
    heard(home)
    return home


def account_of(home: Home) -> Account:
    """The account that lives there."""
    return Account.objects.get(occupancies__service_point=home.service_point)


def guest_of(home: Home, email: str, level: AccountAccess.Level) -> User:
    """Another person with access to the home's account."""
    user = reader(email)
    grant_access(account_of(home), user, at=MAY, level=level)
    return user


def heard(home: Home, at: datetime | None = None) -> None:
    """Note the newest read, and the change, as ingest does."""
    home.newest(at or home.at, home.count)
    RegisterState.objects.filter(register=home.register).update(change_number=bump_change())


def let_flow(home: Home, litres: int, *, minutes: int = 60, quality: int = 0) -> datetime:
    """Let so much run in so many minutes and be read at their end; return that moment."""
    home.count, home.at = home.count + litres, home.at + timedelta(minutes=minutes)
    row = home.row(home.at, home.count)
    row.quality = quality
    row.save()
    heard(home)
    return home.at


def run_hours(home: Home, hours: int, litres_per_h: int = 20) -> datetime:
    """Let some hours pass with the same use in each; return the moment."""
    rows = []
    for _ in range(hours):
        home.count, home.at = home.count + litres_per_h, home.at + HOUR
        rows.append(home.row(home.at, home.count))
    RecentRead.objects.bulk_create(rows)
    heard(home)
    return home.at


def look_at_events(moment: datetime) -> int:
    """Let the worker look for leaks, bills and notices."""
    return look_at_leaks(moment) + look_at_bills(moment) + look_at_notices(moment)


def look(moment: datetime) -> int:
    """Let the worker look at everything once."""
    return look_at_events(moment) + look_at_usage(moment)


def sent_to(user: User) -> list[Message]:
    """What was queued for a person, in order."""
    return list(Message.objects.filter(user=user).order_by("pk"))


def subjects(user: User) -> list[str]:
    """The subjects of it without the utility's name."""
    return [message.subject.partition(": ")[2] for message in sent_to(user)]


def leak_case(home: Home, opened_at: datetime, *, alarm: str = "one", rule: str = "running") -> LeakCase:
    """A leak as ingest keeps it."""
    return LeakCase.objects.create(
        installation=home.installation,
        meter=home.installation.meter,
        alarm_id=alarm,
        rule=rule,
        opened_at=opened_at,
        evidence={
            "opened": {"since": (opened_at - 8 * HOUR).isoformat(), "litres": 314, "litres_per_h": 40, "rule": rule}
        },
    )


def points(homes: Sequence[Home]) -> list[ServicePoint]:
    """The service points of homes."""
    return [home.service_point for home in homes]
