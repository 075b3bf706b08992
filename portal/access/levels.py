"""What a guest may be given, in the words in which it is offered, and who may give it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.utils.translation import gettext_lazy as _

from portal.customers.permissions import Level, Permission, may

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise

    from portal.core.models import User
    from portal.customers.models import Account


@dataclass(frozen=True, slots=True)
class LevelWords:
    """One level as people read it: a title, and one sentence on what it allows."""

    level: Level
    title: _StrPromise
    text: _StrPromise


LEVELS: tuple[LevelWords, ...] = (
    LevelWords(
        Level.VIEW_USAGE,
        _("See water use"),
        _("Charts of the water use, live and past, and their downloads. No bills."),
    ),
    LevelWords(
        Level.VIEW_BILLS,
        _("See water use and bills"),
        _("Charts of the water use with their downloads, and the bills, what is owed, and what was paid."),
    ),
    LevelWords(
        Level.PAY,
        _("See water use and bills, and pay"),
        _("Water use and bills, and paying as soon as this portal takes payments. It does not yet."),
    ),
    LevelWords(
        Level.MANAGE_ALERTS,
        _("See water use and manage alerts"),
        _("Charts of the water use, and answering and setting alerts, such as those of leaks. No bills."),
    ),
    LevelWords(
        Level.MANAGE_ALL,
        _("Manage everything"),
        _("Everything that the account holder can do, inviting others too, but for giving the account up."),
    ),
)
"""What can be given to a guest, the least first; nobody is made an account holder by an invitation."""

_WORDS = {words.level: words for words in LEVELS}
_HOLDER = LevelWords(Level.HOLDER, _("Account holder"), _("Everything. Only the water office changes who that is."))


def level_words(level: str) -> LevelWords:
    """Return a level in words."""
    return _WORDS.get(Level(level), _HOLDER)


def grantable(actor: User, account: Account) -> tuple[LevelWords, ...]:
    """Return the levels that somebody may give, change and take away on an account: none for most guests."""
    if may(actor, Permission.OWN, account):
        return LEVELS
    if may(actor, Permission.MANAGE, account):
        return tuple(words for words in LEVELS if words.level != Level.MANAGE_ALL)
    return ()


def may_grant(actor: User, account: Account, *levels: str) -> bool:
    """Tell whether somebody may give or take away all of these levels on an account."""
    given = {words.level.value for words in grantable(actor, account)}
    return bool(given) and given.issuperset(levels)
