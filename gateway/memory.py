"""What the gateway has already told, kept over restarts: who is silent, which identity answered, which line is down.

Without it a restart would tell the same thing again, or never tell that a meter came back.
"""

from __future__ import annotations

import json
import threading
from typing import Protocol

from domain.errors import HeadwaterError

NAME = "gateway"
# Rows beyond a snapshot's place are kept for it; this one needs none.
_NOTHING_TO_REPLAY = 1 << 62


class Snapshots(Protocol):
    """The part of the store that keeps small states (buffer.store.Store)."""

    def save_snapshot(self, name: str, append_seq: int, blob: bytes) -> None:
        """Keep a state under a name."""
        ...

    def load_snapshot(self, name: str) -> tuple[int, bytes] | None:
        """Return the state kept under a name."""
        ...


class Memory:
    """Small facts by kind and name: `set` returns whether something changed; `save` writes only when it did."""

    def __init__(self, facts: dict[str, dict[str, str]] | None = None) -> None:
        self._facts = facts or {}
        self._names = {name for by_name in self._facts.values() for name in by_name}
        self._changed = False
        self._lock = threading.Lock()

    @classmethod
    def restore(cls, store: Snapshots) -> Memory:
        """Return what was saved; nothing when nothing was, or it cannot be read."""
        saved = store.load_snapshot(NAME)
        if saved is None:
            return cls()
        try:
            facts = json.loads(saved[1])
        except ValueError:
            return cls()
        return cls(
            {
                str(kind): {str(name): str(fact) for name, fact in by_name.items()}
                for kind, by_name in facts.items()
                if isinstance(by_name, dict)
            }
            if isinstance(facts, dict)
            else {}
        )

    def get(self, kind: str, name: str) -> str | None:
        """Return a fact, None when there is none."""
        by_name = self._facts.get(kind)
        return by_name.get(name) if by_name else None

    def knows(self, name: str) -> bool:
        """Tell whether there is, or ever was, a fact of any kind under this name: nearly always there is none."""
        return name in self._names

    def set(self, kind: str, name: str, fact: str | None) -> bool:
        """Note a fact, or with None forget it; return whether that changed anything."""
        if self.get(kind, name) == fact:
            return False  # Nearly always, and asked with every reply: not worth a lock.
        with self._lock:
            by_name = self._facts.setdefault(kind, {})
            if by_name.get(name) == fact:
                return False
            if fact is None:
                del by_name[name]
            else:
                by_name[name] = fact
                self._names.add(name)
            self._changed = True
            return True

    def save(self, store: Snapshots) -> None:
        """Write the facts down when one changed since the last time."""
        with self._lock:
            if not self._changed:
                return
            blob = json.dumps(self._facts, sort_keys=True).encode()
            self._changed = False
        try:
            store.save_snapshot(NAME, _NOTHING_TO_REPLAY, blob)
        except HeadwaterError:
            self._changed = True
            raise
