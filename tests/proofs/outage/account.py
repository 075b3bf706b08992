"""What was served, appended and received, set against each other read by read.

Every total of the bank exists once, so a total that was served and did not arrive is a lost read, and one that arrived
twice was counted twice; no party's word is needed for how many there were.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.proofs.outage.plan import COMMIT_SLACK_S, COMMIT_WINDOW_S

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

MeterCount = tuple[int, int]
"""A meter's number and what its totaliser showed."""

ReadKey = tuple[int, str, int]
"""A read as the collector names it for ever: meter, epoch, append_seq."""


@dataclass(frozen=True, slots=True)
class Account:
    """The counts of one cell.

    served         replies that left a meter (the bank's own count).
    appended       reads that the collector called durable; None where a side keeps no such record.
    received       different totals at the portal or platform.
    lost           appended, and not at the portal.
    lost_by_count  served, not there, and no kill explains it. (appended reads that are missing are among them)
    cut_off        served, not there and not appended, within one commit window before a kill.
    double         what arrived more often than once.
    altered        what arrived and never was served, or under another count than appended.
    cut_off_age_s  how long before the kill the oldest of the cut-off replies had left, seconds.
    """

    served: int
    appended: int | None
    received: int
    lost: int | None
    lost_by_count: int
    cut_off: int
    double: int
    altered: int
    cut_off_age_s: float | None = None

    @property
    def flawless(self) -> bool:
        """Whether nothing was lost, counted twice or altered, and there was something to lose."""
        return self.received > 0 and not (self.lost or self.lost_by_count or self.double or self.altered)


def account(
    served: Mapping[MeterCount, float],
    appended: Mapping[ReadKey, MeterCount] | None,
    received: Sequence[tuple[ReadKey | None, MeterCount]],
    *,
    kills_s: Iterable[float],
) -> Account:
    """Set the records against each other.

    served    when each total left its meter.
    received  each read as often as it is there; without a key where a side gives reads no names.
    kills_s   when the program that reads the meters was killed.
    """
    times = Counter(total for _, total in received)
    appended_totals = set(appended.values()) if appended is not None else set()
    kills = list(kills_s)
    cut_off, lost_by_count, age_s = 0, 0, None
    for total, at_s in served.items():
        if total in times:
            continue
        before_s = None if total in appended_totals else _before_a_kill(at_s, kills)
        if before_s is None:
            lost_by_count += 1
        else:
            cut_off += 1
            age_s = before_s if age_s is None else max(age_s, before_s)
    altered = sum(total not in served for total in times)
    lost = None
    if appended is not None:
        held = {key: total for key, total in received if key is not None}
        lost = sum(key not in held for key in appended)
        altered += sum(held[key] != total for key, total in appended.items() if key in held)
    return Account(
        served=len(served),
        appended=None if appended is None else len(appended),
        received=len(times),
        lost=lost,
        lost_by_count=lost_by_count,
        cut_off=cut_off,
        double=sum(times.values()) - len(times),
        altered=altered,
        cut_off_age_s=None if age_s is None else round(age_s, 3),
    )


def _before_a_kill(at_s: float, kills_s: Sequence[float]) -> float | None:
    """Return how long before a kill a reply left, if that kill can have cut it off."""
    ages = [kill_s - at_s for kill_s in kills_s]
    return min((age for age in ages if -COMMIT_SLACK_S <= age <= COMMIT_WINDOW_S + COMMIT_SLACK_S), default=None)
