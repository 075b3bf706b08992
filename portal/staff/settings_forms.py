"""The forms of the utility's settings: one for each group, lists as repeated rows with blank ones at the end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django import forms
from django.conf import settings
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from portal.staff.fields import DayInput, split_words, words_field, words_of

if TYPE_CHECKING:
    from django.http import QueryDict
    from django_stubs_ext import StrPromise

    from portal.core.models import UtilitySettings

BLANK_ROWS = 2
ROWS_MAX = 20
_SINGLE_WORDS = ("dispute", "programme_title")


class ContactForm(forms.Form):
    """Who the utility is and how to reach it."""

    name = forms.CharField(label=gettext_lazy("Name of the utility"), max_length=120)
    contact_phone = forms.CharField(label=gettext_lazy("Customer service"), max_length=40, required=False)
    contact_email = forms.EmailField(label=gettext_lazy("Email"), required=False)
    emergency_phone = forms.CharField(
        label=gettext_lazy("Emergencies"),
        max_length=40,
        required=False,
        help_text=gettext_lazy("For a burst main or no water, at any hour."),
    )
    postal_address = forms.CharField(
        label=gettext_lazy("Address, in lines"),
        max_length=400,
        required=False,
        widget=forms.Textarea(attrs={"rows": 3}),
    )


class PaymentForm(forms.Form):
    """What is said about disputes; the ways to pay are rows."""

    dispute_en = words_field(gettext_lazy("How a bill is disputed"), "en", most=500, lines=3)
    dispute_es = words_field(gettext_lazy("How a bill is disputed"), "es", most=500, lines=3)


class PortalForm(forms.Form):
    """The portal itself: addresses, days, languages."""

    portal_url = forms.URLField(
        label=gettext_lazy("Address of this portal"),
        required=False,
        assume_scheme="https",
        help_text=gettext_lazy("Links in messages begin with it. Empty: messages carry no links."),
    )
    goes_live_on = forms.DateField(
        label=gettext_lazy("Opens on"),
        required=False,
        widget=DayInput(),
        help_text=gettext_lazy("Until that day no page links to it."),
    )
    old_portal_url = forms.URLField(
        label=gettext_lazy("Address of the old portal"), required=False, assume_scheme="https"
    )
    old_portal_ends_on = forms.DateField(
        label=gettext_lazy("Last day of the old portal"), required=False, widget=DayInput()
    )
    programme_url = forms.URLField(
        label=gettext_lazy("Page of the metering program"), required=False, assume_scheme="https"
    )
    programme_title_en = words_field(gettext_lazy("Title of that page"), "en", most=120)
    programme_title_es = words_field(gettext_lazy("Title of that page"), "es", most=120)
    invitation_days = forms.IntegerField(
        label=gettext_lazy("Days that an invitation of a guest holds"), min_value=1, max_value=60
    )
    default_language = forms.ChoiceField(
        label=gettext_lazy("Language of messages to those who chose none"), choices=settings.LANGUAGES
    )
    accessibility_reviewed_on = forms.DateField(
        label=gettext_lazy("Last reviewed for accessibility by a person"), required=False, widget=DayInput()
    )


class HoursRow(forms.Form):
    """One line of the office hours."""

    line_en = words_field(gettext_lazy("Line"), "en")
    line_es = words_field(gettext_lazy("Line"), "es")

    def clean(self) -> dict[str, Any]:
        """Ask for English beside Spanish."""
        return _with_english(self, "line")


class ContactRow(forms.Form):
    """One more contact."""

    label_en = words_field(gettext_lazy("For what"), "en")
    label_es = words_field(gettext_lazy("For what"), "es")
    phone = forms.CharField(label=gettext_lazy("Telephone"), max_length=40, required=False)
    email = forms.EmailField(label=gettext_lazy("Email"), required=False)
    hours_en = words_field(gettext_lazy("Hours"), "en")
    hours_es = words_field(gettext_lazy("Hours"), "es")
    note_en = words_field(gettext_lazy("Note"), "en")
    note_es = words_field(gettext_lazy("Note"), "es")

    def clean(self) -> dict[str, Any]:
        """Ask for what it is for when anything of it is filled in."""
        return _with_english(self, "label")


class WayRow(forms.Form):
    """One way to pay."""

    label_en = words_field(gettext_lazy("Way"), "en")
    label_es = words_field(gettext_lazy("Way"), "es")
    detail_en = words_field(gettext_lazy("Where and how"), "en", most=300)
    detail_es = words_field(gettext_lazy("Where and how"), "es", most=300)

    def clean(self) -> dict[str, Any]:
        """Ask for its name when anything of it is filled in."""
        return _with_english(self, "label")


def _with_english(form: forms.Form, name: str) -> dict[str, Any]:
    typed = form.cleaned_data
    if any(typed.values()) and not typed.get(f"{name}_en") and f"{name}_en" not in form.errors:
        form.add_error(f"{name}_en", _("Write this in English; Spanish may follow."))
    return typed


@dataclass(frozen=True, slots=True)
class Rows:
    """A setting that is a list: its name, its title, the form of one row, which parts are words in each language."""

    name: str
    title: StrPromise
    form: type[forms.Form]
    words: tuple[str, ...]

    def formset(self, data: QueryDict | None, row: UtilitySettings) -> Any:
        """Return the rows as they stand, with blank ones at the end."""
        made = forms.formset_factory(self.form, extra=BLANK_ROWS, max_num=ROWS_MAX, validate_max=True)
        initial = [self._split(entry) for entry in getattr(row, self.name)]
        return made(data, initial=initial, prefix=self.name, form_kwargs={"label_suffix": ""})

    def value(self, formset: Any) -> list[dict[str, Any]]:
        """Return the setting that valid rows make; empty rows are left out."""
        return [entry for form in formset.forms if (entry := self._joined(form.cleaned_data))]

    def _split(self, entry: dict[str, Any]) -> dict[str, str]:
        if self.words == ("line",):
            return split_words(entry, "line")
        found: dict[str, str] = {name: entry[name] for name in ("phone", "email") if name in entry}
        for name in self.words:
            found |= split_words(entry.get(name, {}), name)
        return found

    def _joined(self, typed: dict[str, Any]) -> dict[str, Any]:
        if self.words == ("line",):
            return words_of(typed, "line")
        entry: dict[str, Any] = {name: words for name in self.words if (words := words_of(typed, name))}
        return entry | {name: typed[name].strip() for name in ("phone", "email") if typed.get(name)}


@dataclass(frozen=True, slots=True)
class Group:
    """One page of settings."""

    name: str
    title: StrPromise
    form: type[forms.Form]
    rows: tuple[Rows, ...] = ()

    def initial(self, row: UtilitySettings) -> dict[str, Any]:
        """Return what its form shows at first."""
        found: dict[str, Any] = {}
        for name in self.form.base_fields:
            part, _dash, language = name.rpartition("_")
            found[name] = getattr(row, part).get(language, "") if part in _SINGLE_WORDS else getattr(row, name)
        return found

    def values(self, typed: dict[str, Any]) -> dict[str, Any]:
        """Return the settings that a valid form makes."""
        found = {name: words_of(typed, name) for name in _SINGLE_WORDS if f"{name}_en" in typed}
        return found | {name: value for name, value in typed.items() if name.rpartition("_")[0] not in _SINGLE_WORDS}


GROUPS: tuple[Group, ...] = (
    Group(
        "contact",
        gettext_lazy("Contacts and hours"),
        ContactForm,
        (
            Rows("office_hours", gettext_lazy("Office hours"), HoursRow, ("line",)),
            Rows("contacts", gettext_lazy("More contacts"), ContactRow, ("label", "hours", "note")),
        ),
    ),
    Group(
        "payment",
        gettext_lazy("Payments and disputes"),
        PaymentForm,
        (Rows("ways_to_pay", gettext_lazy("Ways to pay"), WayRow, ("label", "detail")),),
    ),
    Group("portal", gettext_lazy("Portal and languages"), PortalForm),
)
