"""Runs one process of the demo with a fault planted in it, so that anyone can see the reconciliation find it.

The faults are put into production code from outside, here and nowhere else:
  drop-read     the collector's store silently loses one read that it was given
  double-batch  the portal's ingest applies one batch twice
  skip-ack      the portal's ingest never answers the collector
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

from headwater.cli import main

KINDS = ("drop-read", "double-batch", "skip-ack")


def plant(kind: str) -> None:
    """Plant one fault in this process. raises ValueError for an unknown kind."""
    _PLANTS[kind]()


def _drop_read() -> None:
    from buffer.store import Store

    append = Store.append
    calls = 0

    def append_but_one(self: Any, reads: Sequence[Any], events: Sequence[Any] = ()) -> Any:
        nonlocal calls
        calls += 1
        if calls == 3 and reads:
            return [*append(self, reads[:-1], events), None]
        return append(self, reads, events)

    Store.append = append_but_one  # type: ignore[method-assign]


_PLANTS: dict[str, Callable[[], None]] = {"drop-read": _drop_read}

if __name__ == "__main__":
    plant(sys.argv[1])
    main(sys.argv[2:])
