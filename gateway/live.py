"""New reads and events as they become durable, for `watch`. Whoever is too slow misses some; nobody waits for him."""

from __future__ import annotations

import threading
from queue import Empty, Full, Queue
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.commit import Committed

_QUEUE = 256
_HEARTBEAT_S = 5.0


class Live:
    """Fans out what was committed."""

    def __init__(self) -> None:
        self._queues: set[Queue[Committed]] = set()
        self._lock = threading.Lock()
        self._stopped = False

    def publish(self, what: Committed) -> None:
        """Hand on what was committed."""
        with self._lock:
            queues = list(self._queues)
        for queue in queues:
            try:
                queue.put_nowait(what)
            except Full:
                continue

    def stop(self) -> None:
        """End all watching."""
        self._stopped = True

    def watch(self) -> Iterator[dict[str, Any]]:
        """Yield an object for each new read and event, and `{"alive": true}` when nothing happens for a while."""
        queue: Queue[Committed] = Queue(_QUEUE)
        with self._lock:
            self._queues.add(queue)
        try:
            while not self._stopped:
                try:
                    what = queue.get(timeout=_HEARTBEAT_S)
                except Empty:
                    yield {"alive": True}
                    continue
                yield from _described(what)
        finally:
            with self._lock:
                self._queues.discard(queue)


def _described(what: Committed) -> Iterator[dict[str, Any]]:
    for stored in what.reads:
        read = stored.read
        yield {
            "append_seq": stored.append_seq,
            "meter": str(read.register.meter_id),
            "register": str(read.register.register_id),
            "count": read.raw_count,
            "unit": read.register.unit.value,
            "scale": read.register.scale,
            "read_at": read.read_at.isoformat(),
            "quality": read.quality.name.lower(),
        }
    for item in what.events:
        event = item.event
        yield {
            "append_seq": item.append_seq,
            "event": event.kind.value,
            "meter": str(event.meter_id) if event.meter_id else None,
            "at": event.at.isoformat(),
            "detail": dict(event.detail),
        }
