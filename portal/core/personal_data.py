"""What the portal holds about a person, kind by kind: for the export of one's data and for the end of a login.

Every app that keeps rows about a person names a provider here, in ONE line, and writes it beside its models:

    PHONES = PersonalData("phones", phones_of, erase_phones)        # portal/notifications/personal_data.py
    "portal.notifications.personal_data:PHONES",                    # below

Dotted names, because the core may not import what lies above it; they are loaded when they are first used.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from django.utils.functional import Promise

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from django_stubs_ext import StrPromise

    from portal.core.models import User


@dataclass(frozen=True, slots=True)
class PersonalData:
    """One kind of data about a person.

    name   of its files in the export, a slug: `sign-ins`.
    rows   what is held about somebody, row by row: names to texts, numbers, booleans, moments (aware), days, lists or
           None. No row numbers, no hashes, nothing about somebody else. It may be a generator.
    erase  takes it away when the login ends (deletes, or empties what must stay as a row) and returns how many rows it
           touched. It runs inside one transaction, in the order of PROVIDERS, while the user's row still stands; doing
           it twice does no harm.
    kept   why something of it stays, shown to the person before they decide; empty when nothing does.
    """

    name: str
    rows: Callable[[User], Iterable[Mapping[str, object]]]
    erase: Callable[[User], int]
    kept: StrPromise | str = ""


PROVIDERS: tuple[str, ...] = (
    "portal.downloads.personal_data:PROFILE",
    "portal.resident.personal_data:PREFERENCES",
    "portal.downloads.personal_data:ADDRESSES",
    "portal.downloads.personal_data:FACTORS",
    "portal.downloads.personal_data:SESSIONS",
    "portal.downloads.personal_data:ACCESS",
    "portal.downloads.personal_data:CLAIMS",
    "portal.downloads.personal_data:SIGN_INS",
    "portal.downloads.personal_data:INVITATIONS",
    "portal.downloads.personal_data:TOKENS",
    "portal.notifications.personal_data:MESSAGES",
    "portal.notifications.personal_data:RECEIVED_TEXTS",
    "portal.notifications.personal_data:PHONES",
    "portal.service.personal_data:REQUESTS",
    "portal.alerts.personal_data:SETTINGS",
    "portal.alerts.personal_data:RECEIVED",
    "portal.comparison.personal_data:LEFT_OUT",
)
"""`module:NAME` of each PersonalData, in the order of the export."""


def personal_data() -> tuple[PersonalData, ...]:
    """Return every kind of data, in order; raises ImportError or TypeError for a line that names no provider."""
    return tuple(_loaded(name) for name in PROVIDERS)


def _loaded(dotted: str) -> PersonalData:
    module, _, name = dotted.partition(":")
    found = getattr(import_module(module), name, None)
    if not isinstance(found, PersonalData):
        raise TypeError(f"{dotted} is no PersonalData")
    assert isinstance(found.kept, str | Promise)
    return found
