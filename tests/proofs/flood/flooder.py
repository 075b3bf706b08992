"""One enrolled collector that floods: a process of its own, started by the proof.

It makes its messages first, says `ready`, waits for a line on its input, publishes them as fast as the broker takes
them for so many seconds, and prints how many the broker took.
"""

from __future__ import annotations

import json
import os
import random
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from sync.topics import batch_topic

if TYPE_CHECKING:
    from tests.portal.boxes import Box

KINDS = ("duplicates", "new", "garbage")
MESSAGES_MAX = 30_000
IN_FLIGHT = 200


def the_box(folder: Path, name: str) -> Box:
    """Return the enrolled collector; the environment is the portal's."""
    import portal.cli

    portal.cli._django()
    from django.conf import settings

    from tests.portal.boxes import Box
    from tests.proofs.flood.proof import verify_key

    at = SimpleNamespace(folder=folder, broker_port=urlsplit(settings.BROKER_URL).port)
    return Box(at, name, verify_key(folder))  # type: ignore[arg-type]  # a portal's folder and port are all it needs


def messages(kind: str, box: Box, seed: int) -> list[bytes]:
    """Return what is published: one valid batch repeated, valid batches each the next, or garbage of three sorts."""
    if kind == "duplicates":
        return [box.seal(0)] * MESSAGES_MAX
    if kind == "new":
        box.seal(0)  # the one that was duplicated
        return [box.seal(5 * n) for n in range(1, MESSAGES_MAX // 3)]
    rng, signed = random.Random(seed), box.seal(0)
    sorts = (
        lambda: rng.randbytes(300),
        lambda: signed[:-1] + bytes((signed[-1] ^ rng.randrange(1, 256),)),
        lambda: signed[:40] + rng.randbytes(len(signed) - 40),
    )
    return [rng.choice(sorts)() for _ in range(MESSAGES_MAX // 2)]


def main(kind: str, folder: Path, name: str, seed: int, seconds: float, per_s: float) -> None:
    """Flood, as fast as the broker takes it or, when `per_s` is above 0, so many messages a second."""
    os.nice(10)  # a flooder is another machine: it gets what the portal leaves over
    box = the_box(folder, name)
    prepared = messages(kind, box, seed)
    box.connect(in_flight=IN_FLIGHT)
    room, taken = threading.Semaphore(IN_FLIGHT), [0]

    def took(*_: object) -> None:
        taken[0] += 1
        room.release()

    box.client.on_publish = took
    print("ready", flush=True)
    sys.stdin.readline()
    begin_s = time.monotonic()
    topic, deadline_s = batch_topic(box.name), begin_s + seconds
    for number, data in enumerate(prepared):
        if per_s and (early_s := begin_s + number / per_s - time.monotonic()) > 0:
            time.sleep(early_s)
        if not room.acquire(timeout=max(0.0, deadline_s - time.monotonic())):
            break
        if time.monotonic() > deadline_s:
            break
        box.client.publish(topic, data, qos=1)
    print(json.dumps({"published": taken[0], "seconds": round(seconds, 1)}), flush=True)
    os._exit(0)  # a flooder does not take its leave


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]), float(sys.argv[5]), float(sys.argv[6]))
