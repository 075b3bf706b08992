"""Form fields that several staff pages share: words in each language, moments in the utility's zone."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from django import forms
from django.utils.text import format_lazy
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from portal.core.services import utility_zone

if TYPE_CHECKING:
    from collections.abc import Mapping

LANGUAGES = {"en": gettext_lazy("English"), "es": gettext_lazy("Spanish")}
MINUTE = "%Y-%m-%dT%H:%M"


class DayInput(forms.DateInput):
    """A day, chosen or typed, as browsers send it."""

    input_type = "date"

    def __init__(self) -> None:
        super().__init__(format="%Y-%m-%d")


class MomentField(forms.DateTimeField):
    """A day and a time in the utility's zone; the hour that a clock change leaves out or doubles is refused."""

    widget = forms.DateTimeInput(attrs={"type": "datetime-local"}, format=MINUTE)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(input_formats=[MINUTE, "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M"], **kwargs)

    def prepare_value(self, value: Any) -> Any:
        """Return a moment as the field shows it."""
        return value.astimezone(utility_zone()).strftime(MINUTE) if isinstance(value, datetime) else value

    def to_python(self, value: Any) -> datetime | None:
        """Return the moment that was typed."""
        if value in self.empty_values:
            return None
        for layout in self.input_formats or ():
            try:
                local = datetime.strptime(str(value).strip(), layout)  # noqa: DTZ007 (the zone follows)
            except ValueError:
                continue
            return _in_zone(local)
        raise forms.ValidationError(_("Write day and time, such as 2026-06-17 08:00."))


def _in_zone(local: datetime) -> datetime:
    zone = utility_zone()
    first, second = (local.replace(tzinfo=zone, fold=fold) for fold in (0, 1))
    if first.utcoffset() != second.utcoffset():
        raise forms.ValidationError(_("Clocks change at that hour; write an hour before or after it."))
    return first


def words_field(
    label: Any, language: str, *, required: bool = False, most: int = 200, lines: int = 0
) -> forms.CharField:
    """Return a field for words in one language."""
    attrs = {"lang": language, **({"rows": lines} if lines else {})}
    widget = forms.Textarea(attrs=attrs) if lines else forms.TextInput(attrs=attrs)
    text = format_lazy("{} ({})", label, LANGUAGES[language])
    return forms.CharField(label=text, required=required, max_length=most, widget=widget)


def words_of(cleaned: Mapping[str, Any], name: str) -> dict[str, str]:
    """Return {"en": .., "es": ..} of the fields `name_en`, `name_es`, without what was left empty."""
    found = {language: str(cleaned.get(f"{name}_{language}") or "").strip() for language in LANGUAGES}
    return {language: text for language, text in found.items() if text}


def split_words(words: Mapping[str, str], name: str) -> dict[str, str]:
    """Return what such fields show at first."""
    return {f"{name}_{language}": words.get(language, "") for language in LANGUAGES}
