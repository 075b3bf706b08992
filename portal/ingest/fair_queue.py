"""Who is served next when several collectors have messages in hand: pure, no clock, no thread.

Start-time fair queuing: each collector has used up so much service time; the one that used least is next. A collector
that comes back from being idle starts where the queue stands now, so nobody saves up turns, and one that has nothing
waiting is forgotten as soon as the others have caught up with it. What a collector has in hand is bounded in messages
and bytes, and so is the whole; what finds no room is handed back to the caller, who decides what that means.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class Quota:
    """How much may be in hand: of one collector, and in all.

    A collector may have 8 batches of each of its two streams on their way (sync.uplink.UplinkPlan.window); another 8
    is room for what it sends again meanwhile.
    """

    messages: int = 24
    size_bytes: int = 8 * 1024 * 1024
    total_messages: int = 256
    total_bytes: int = 48 * 1024 * 1024


class FairQueue(Generic[_Item]):
    """Messages of many collectors, taken in the order of least service time used."""

    def __init__(self, quota: Quota | None = None) -> None:
        self._quota = quota or Quota()
        self._waiting: dict[str, deque[tuple[_Item, int]]] = {}
        self._bytes: dict[str, int] = {}
        self._used_s: dict[str, float] = {}
        self._now_s = 0.0  # virtual time: what the collector served last had used when it was taken
        self._messages = self._total_bytes = 0

    def __len__(self) -> int:
        """Return how many messages are in hand."""
        return self._messages

    @property
    def size_bytes(self) -> int:
        """How many bytes are in hand."""
        return self._total_bytes

    @property
    def is_full(self) -> bool:
        """Whether nothing more may be in hand at all."""
        return self._messages >= self._quota.total_messages or self._total_bytes >= self._quota.total_bytes

    def has_room(self, key: str, size_bytes: int) -> bool:
        """Whether a message of a collector fits into its quota."""
        return (
            len(self._waiting.get(key, ())) < self._quota.messages
            and self._bytes.get(key, 0) + size_bytes <= self._quota.size_bytes
        )

    def put(self, key: str, item: _Item, size_bytes: int, *, spare: bool = True) -> list[tuple[str, _Item]]:
        """Take a message in hand; return those (key, message) that find no room and are not in hand any more.

        Over its own quota it is the message itself; over the whole it is the newest of whoever has most in hand.
        spare  False takes it in whatever the quotas say: somebody else bounds what may come.
        """
        if spare and not self.has_room(key, size_bytes):
            return [(key, item)]
        if key not in self._waiting:
            self._used_s[key] = max(self._used_s.get(key, 0.0), self._now_s)
        self._add(key, item, size_bytes)
        evicted = []
        while spare and self._is_over():
            greedy = max(self._waiting, key=self._share)
            victim, size = self._waiting[greedy].pop()
            self._gone(greedy, size)
            evicted.append((greedy, victim))
        return evicted

    def put_back(self, key: str, item: _Item, size_bytes: int) -> None:
        """Take a message in hand again that was taken and could not be done; it is the last of its collector's."""
        self._add(key, item, size_bytes)

    def take(self, resting: Callable[[str], bool] = lambda key: False) -> tuple[str, _Item] | None:
        """Return the next (key, message), or None when nothing waits, or only what rests.

        resting  says of a collector that it is not its turn yet, whatever it used.
        """
        if not self._waiting:
            self._used_s.clear()
            self._now_s = 0.0
            return None
        awake = [key for key in self._waiting if not resting(key)]
        if not awake:
            return None
        key = min(awake, key=self._used)
        self._now_s = max(self._now_s, self._used(key))
        item, size = self._waiting[key].popleft()
        self._gone(key, size)
        if len(self._used_s) > 2 * len(self._waiting) + 64:
            self._used_s = {k: used for k, used in self._used_s.items() if k in self._waiting or used > self._now_s}
        return key, item

    def charge(self, key: str, service_s: float) -> None:
        """Write down what serving a collector took."""
        self._used_s[key] = max(self._used(key), self._now_s) + service_s

    def urgent(self) -> bool:
        """Whether somebody waits who has used no more than the one served last: he should not wait any longer."""
        return any(self._used(key) <= self._now_s for key in self._waiting)

    def clear(self) -> None:
        """Let go of everything in hand."""
        self._waiting.clear()
        self._bytes.clear()
        self._messages = self._total_bytes = 0

    def _used(self, key: str) -> float:
        return self._used_s.get(key, self._now_s)

    def _share(self, key: str) -> float:
        """Return how much of the whole a collector has in hand, by whichever bound it is nearer to."""
        return max(
            len(self._waiting[key]) / self._quota.total_messages, self._bytes.get(key, 0) / self._quota.total_bytes
        )

    def _is_over(self) -> bool:
        return self._messages > self._quota.total_messages or self._total_bytes > self._quota.total_bytes

    def _add(self, key: str, item: _Item, size_bytes: int) -> None:
        self._waiting.setdefault(key, deque()).append((item, size_bytes))
        self._bytes[key] = self._bytes.get(key, 0) + size_bytes
        self._messages += 1
        self._total_bytes += size_bytes

    def _gone(self, key: str, size_bytes: int) -> None:
        self._messages -= 1
        self._total_bytes -= size_bytes
        self._bytes[key] -= size_bytes
        if not self._waiting[key]:
            del self._waiting[key], self._bytes[key]
