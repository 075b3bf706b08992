"""Which states of the disk are tried at a cut: by turns one of the plain kinds and a seeded one of any kind.

A state's number at its cut fixes it, with a generator made of seed, scene, cut and number. The first number is another
kind at each cut, so that a few states a cut already see every kind in every stage of a call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.proofs.power.disk import ABSENT, WHOLE, Fate, File, Pending, sectors_of

if TYPE_CHECKING:
    import random

Fates = dict[int, Fate]
PLAIN = 7
"""Kinds: nothing, everything, only the last, all but the last, the last write torn at three places."""


def fates(pending: list[Pending], cut: int, number: int, rng: random.Random, *, ordered: bool = False) -> Fates:
    """Return what becomes of each pending change in the state with this number at this cut."""
    turn = cut + number
    chosen = _plain(pending, turn // 2 % PLAIN) if turn % 2 else _drawn(pending, rng)
    if ordered:
        _in_order(pending, chosen, rng)
    return chosen


def _plain(pending: list[Pending], kind: int) -> Fates:
    if kind == 0 or not pending:
        return {}
    last = pending[-1]
    if kind == 2:
        return {last.number: WHOLE}
    everything = {change.number: WHOLE for change in pending}
    if kind == 3:
        del everything[last.number]
    writes = [change for change in pending if change.kind == "write"]
    if kind >= 4 and writes:
        # Torn behind its first sector, in the middle, and before its last one.
        torn, sectors = writes[-1], sectors_of(writes[-1])
        kept = {4: 1, 5: (sectors + 1) // 2, 6: sectors - 1}[kind]
        everything[torn.number] = Fate(there=True, sectors=frozenset(range(kept)))
    return everything


def _drawn(pending: list[Pending], rng: random.Random) -> Fates:
    kind = rng.choice(("but one", "some", "some", "few", "many", "prefix", "torn", "torn", "grown", "entries", "holes"))
    chosen: Fates = {}
    likely = {"few": 0.2, "many": 0.85}.get(kind, rng.choice((0.3, 0.5, 0.7)))
    upto = rng.randrange(len(pending) + 1) if pending else 0
    for place, change in enumerate(pending):
        if kind in ("but one", "torn", "grown"):
            there = True
        elif kind == "prefix":
            there = place < upto
        elif kind == "entries":  # the files as they should be, the folder in any mixture
            there = isinstance(change.of, File) or rng.random() < 0.5
        elif kind == "holes":  # the folder as it should be, the files in any mixture
            there = not isinstance(change.of, File) or rng.random() < likely
        else:
            there = rng.random() < likely
        chosen[change.number] = WHOLE if there else ABSENT
    writes = [change for change in pending if change.kind == "write"]
    if kind == "but one" and pending:
        chosen[rng.choice(pending).number] = ABSENT
    if writes and kind in ("torn", "some", "prefix"):
        for change in rng.sample(writes, min(len(writes), rng.choice((1, 1, 2, 4)))):
            chosen[change.number] = _torn(change, rng)
    if kind == "grown" or rng.random() < 0.2:
        _grow(writes, chosen, rng)
    return chosen


def _torn(change: Pending, rng: random.Random) -> Fate:
    sectors = sectors_of(change)
    at = rng.randrange(sectors + 1)
    kept = rng.choice((range(at), range(at, sectors), rng.sample(range(sectors), at)))
    return Fate(there=True, sectors=frozenset(kept))


def _grow(writes: list[Pending], chosen: Fates, rng: random.Random) -> None:
    """Let files have their new size without the bytes that gave it to them."""
    growing = [change for change in writes if change.grows]
    for change in growing[rng.randrange(len(growing)) :] if growing else ():
        kept = chosen.get(change.number, ABSENT)
        sectors = kept.sectors if kept.there and kept.sectors is not None else frozenset()
        chosen[change.number] = Fate(there=bool(sectors), sectors=sectors, grown=rng.choice(("zeros", "stale")))


def _in_order(pending: list[Pending], chosen: Fates, rng: random.Random) -> None:
    """Let the folders' changes be there up to one moment, as a journal keeps them."""
    changes = [change for change in pending if not isinstance(change.of, File)]
    there = sum(chosen.get(change.number, ABSENT).there for change in changes)
    for place, change in enumerate(changes):
        chosen[change.number] = WHOLE if place < there else ABSENT
