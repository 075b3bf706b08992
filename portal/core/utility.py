"""What the utility says of itself: checked in one place, whether it comes from a file or from a page of the staff."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.translation import get_language

from portal.core.models import UtilitySettings
from portal.core.services import audit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from portal.core.models import User

MAY_CHANGE = "core.change_utilitysettings"
"""Django's permission to change the utility's settings; superusers have it."""

_WORDS = ("dispute", "programme_title")
_CONTACT = {"label", "phone", "email", "hours", "note"}
_WAY = {"label", "detail"}
_DAYS = ("old_portal_ends_on", "goes_live_on", "accessibility_reviewed_on")


def in_language(words: Mapping[str, str]) -> str:
    """Return the words of a setting in the language of the page, or else in English."""
    return words.get((get_language() or "en")[:2]) or words.get("en", "")


@transaction.atomic
def change_utility(values: Mapping[str, Any], *, actor: User | None = None, label: str = "") -> list[str]:
    """Save new values of some settings and return the names of those that changed; what is audited says before, after.

    raises  SettingsFaults naming every value that will not do; then nothing is saved.
    """
    if faults := list(faults_of(values)):
        raise SettingsFaults(faults)
    row, _ = UtilitySettings.objects.select_for_update().get_or_create(pk=1)
    before = {name: getattr(row, name) for name in values}
    for name, value in values.items():
        setattr(row, name, _day(value) if name in _DAYS else value)
    try:
        row.full_clean(validate_unique=False, validate_constraints=False)
    except ValidationError as error:
        raise SettingsFaults([(name, " ".join(found)) for name, found in error.message_dict.items()]) from error
    changed = [name for name in values if getattr(row, name) != before[name]]
    if changed:
        row.save()
        detail = {name: {"before": _plain(before[name]), "after": _plain(getattr(row, name))} for name in changed}
        audit("utility.changed", actor=actor, label=label, target=row, detail=detail)
    return changed


class SettingsFaults(ValueError):
    """Settings that will not do: (name of the setting, what is wrong), all of them."""

    def __init__(self, faults: list[tuple[str, str]]) -> None:
        self.faults = faults
        super().__init__("; ".join(f"{name}: {text}" for name, text in faults))


def faults_of(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with the structured settings among some values; single ones are checked by their fields."""
    for name in _WORDS:
        if not _are_words(values.get(name, {})):
            yield name, 'expected {"en": "..", "es": ".."}'
    if not _each(values.get("office_hours", []), _are_words):
        yield "office_hours", 'expected a list of {"en": "..", "es": ".."}'
    if not _each(values.get("contacts", []), _is_contact):
        yield "contacts", "expected a list of {label: {en, es}, phone, email, hours: {en, es}, note: {en, es}}"
    if not _each(values.get("ways_to_pay", []), _is_way):
        yield "ways_to_pay", "expected a list of {label: {en, es}, detail: {en, es}}"
    if values.get("default_language", "en") not in dict(settings.LANGUAGES):
        yield "default_language", f"expected one of {', '.join(dict(settings.LANGUAGES))}"
    days = values.get("invitation_days", 7)
    if not isinstance(days, int) or isinstance(days, bool) or not 1 <= days <= 60:
        yield "invitation_days", "expected 1 to 60 days"
    for name in _DAYS:
        try:
            _day(values.get(name))
        except (ValueError, TypeError):
            yield name, "expected a day such as 2026-06-24"
    if "zone" in values:
        try:
            ZoneInfo(values["zone"])
        except (ValueError, KeyError, OSError, TypeError):
            yield "zone", f"{values['zone']!r} is not a time zone such as America/Chicago"


def _each(rows: Any, right: Any) -> bool:
    return isinstance(rows, list) and all(right(row) for row in rows)


def _are_words(words: Any) -> bool:
    return (
        isinstance(words, dict)
        and set(words) <= set(dict(settings.LANGUAGES))
        and all(isinstance(text, str) for text in words.values())
    )


def _is_contact(row: Any) -> bool:
    return (
        isinstance(row, dict)
        and set(row) <= _CONTACT
        and bool(row.get("label"))
        and all(_are_words(row.get(name, {})) for name in ("label", "hours", "note"))
        and all(isinstance(row.get(name, ""), str) for name in ("phone", "email"))
    )


def _is_way(row: Any) -> bool:
    return isinstance(row, dict) and set(row) <= _WAY and bool(row.get("label")) and all(map(_are_words, row.values()))


def _day(value: Any) -> date | None:
    if value in (None, ""):
        return None
    return value if isinstance(value, date) else date.fromisoformat(value)


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date) else value
