"""What is held about a person on the resident pages: what they prefer there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portal.core.personal_data import PersonalData
from portal.resident.models import Preference

if TYPE_CHECKING:
    from collections.abc import Iterator

    from portal.core.models import User


def _preferences(user: User) -> Iterator[dict[str, object]]:
    for row in Preference.objects.filter(user=user):
        yield {"unit": row.unit}


def _erase_preferences(user: User) -> int:
    return Preference.objects.filter(user=user).delete()[0]


PREFERENCES = PersonalData("preferences", _preferences, _erase_preferences)
