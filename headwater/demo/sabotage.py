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


def plant(side: str, kind: str) -> None:
    """Plant one fault in this process, if it belongs to its side: `gateway` or `portal`."""
    _PLANTS.get((side, kind), lambda: None)()


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


def _when_django_is_ready(plant_it: Callable[[], None]) -> None:
    from portal import cli

    ready = cli._serve_checks

    def ready_then_plant(**context: Any) -> None:
        ready(**context)
        plant_it()

    cli._serve_checks = ready_then_plant


def _double_batch() -> None:
    def plant_it() -> None:
        from portal.metering import services

        apply_contents = services.apply_contents
        calls = 0

        def apply_one_twice(batch: Any, **context: Any) -> None:
            nonlocal calls
            apply_contents(batch, **context)
            calls += 1
            if calls == 3:
                apply_contents(batch, **context | {"keeping": ()})

        services.apply_contents = apply_one_twice  # type: ignore[assignment]

    _when_django_is_ready(plant_it)


def _skip_ack() -> None:
    def plant_it() -> None:
        from portal.ingest import consumer

        apply_batch = consumer.apply_batch  # type: ignore[attr-defined]

        def apply_and_say_nothing(*arguments: Any) -> None:
            apply_batch(*arguments)

        consumer.apply_batch = apply_and_say_nothing  # type: ignore[attr-defined, assignment]

    _when_django_is_ready(plant_it)


_PLANTS: dict[tuple[str, str], Callable[[], None]] = {
    ("gateway", "drop-read"): _drop_read,
    ("portal", "double-batch"): _double_batch,
    ("portal", "skip-ack"): _skip_ack,
}

if __name__ == "__main__":
    plant(sys.argv[2], sys.argv[1])
    main(sys.argv[2:])
