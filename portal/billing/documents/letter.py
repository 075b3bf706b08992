"""A letter by mail about a new sign-in: its facts, frozen when it is written, and its words in each language."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

from django.utils import translation
from django.utils.translation import gettext as _

from portal.billing.documents import figures
from portal.billing.documents.facts import UtilityFacts, decoded, encoded
from portal.billing.documents.words import LANGUAGES, Pair, contact_of


@dataclass(frozen=True, slots=True)
class LetterFacts:
    """All that a letter about a new sign-in says, in no language.

    mail_to  the lines of the address: name first. place: where the account gets its water.
    day      of the link, in the utility's zone.
    bills_to where the bills go from now on, with its middle hidden; empty: they stay on paper.
    """

    language: str
    account_number: str
    name: str
    mail_to: tuple[str, ...]
    place: str
    day: date
    utility: UtilityFacts
    bills_to: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return the facts for `Letter.facts`."""
        coded: dict[str, Any] = encoded(self)
        return coded

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> LetterFacts:
        """Return the facts that `as_json` gave."""
        found: LetterFacts = decoded(cls, data)
        return found


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a letter under its own title."""

    title: str
    said: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LetterWords:
    """All that a letter says, in one language, in the order in which it says it."""

    language: str
    utility: str
    day: str
    mail_to: tuple[str, ...]
    title: str
    said: tuple[str, ...]
    parts: tuple[Part, ...]
    contact: tuple[Pair, ...]
    why: str


def words_of_letter(facts: LetterFacts) -> LetterWords:
    """Return a letter in words, in the account's language; one that bills are not written in becomes English.

    Nothing that the newcomer typed stands in it but the hidden address: nobody writes to a home on our paper.
    """
    language = facts.language if facts.language in LANGUAGES else "en"
    with translation.override(language):
        shown = {"place": facts.place, "day": figures.day(facts.day), "to": facts.bills_to}
        linked = _(
            "On %(day)s somebody proved with the most recent bill that the water account of %(place)s is theirs, and "
            "linked it to a sign-in of our portal. The sign-in shows its water use and its bills."
        )
        if facts.bills_to:
            way = _(
                "From now on the bills come by email to %(to)s, not on paper. We show only the beginning and the end "
                "of the name in that address: whoever linked the account knows the rest."
            )
            back = _(
                "Nothing has to be done. If you would rather have the bills on paper, sign in and choose paper under "
                "Bills, or tell us."
            )
        else:
            way = _("The bills come on paper, as before.")
            back = _("Nothing has to be done. You can choose under Bills how they come.")
        wrong = _(
            "Tell us at once. We take the account off that sign-in, and the bills come on paper. Nothing else is "
            "needed from you."
        )
        return LetterWords(
            language=language,
            utility=facts.utility.name,
            day=figures.day(facts.day),
            mail_to=facts.mail_to,
            title=_("A sign-in was linked to your water account"),
            said=(linked % shown, way % shown),
            parts=(
                Part(_("If it was you, or somebody of your household"), (back,)),
                Part(_("If it was not you"), (wrong,)),
            ),
            contact=contact_of(facts.utility),
            why=_(
                "You get this by mail because no email reached this account before. Nobody asks you for a password or "
                "for money because of it."
            ),
        )
