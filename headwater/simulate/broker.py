"""Links and broker: messages are delayed, lost, repeated, overtaken and bent; what survives arrives."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from domain.ids import CollectorId
    from headwater.simulate.faults import Profile
    from headwater.simulate.world import World

_KEPT_DOWN = 200
"""Messages that the broker keeps for a collector that is away."""


class Ingest(Protocol):
    """The portal's end."""

    up: bool

    def receive(self, topic: str, payload: bytes) -> bool:
        """Apply a message; returns whether it is done with, so that the broker may forget it."""
        ...


class Subscriber(Protocol):
    """A collector's end."""

    name: CollectorId

    def receive(self, topic: str, payload: bytes) -> None:
        """Take an ack or a command."""
        ...

    def lose_session(self) -> None:
        """Learn that the connection is gone."""
        ...


@dataclass(slots=True)
class Link:
    """One collector's way to the broker.

    whole            whether a connection can be had; up_cut and down_cut lose what goes that way without a word.
    bytes_per_s      how fast it is.
    session          number of the connection that stands, 0 for none.
    """

    node: Subscriber
    whole: bool = True
    up_cut: bool = False
    down_cut: bool = False
    bytes_per_s: float = math.inf
    busy_until_s: float = 0.0
    session: int = 0
    kept: deque[tuple[str, bytes]] = field(default_factory=lambda: deque(maxlen=_KEPT_DOWN))


class Broker:
    """A broker with persistent sessions for both ends."""

    def __init__(self, world: World, profile: Profile) -> None:
        self._world, self._profile = world, profile
        self.ingest: Ingest
        self.links: dict[CollectorId, Link] = {}
        self.up, self.drops, self.calm = True, False, False
        self._queue: dict[int, tuple[str, bytes]] = {}
        self._numbered = 0
        self._sessions = 0

    def _delay_s(self) -> float:
        profile = self._profile
        jitter_s = 0.01 if self.calm else profile.jitter_s
        return profile.latency_s + (self._world.rng.expovariate(1 / jitter_s) if jitter_s else 0.0)

    def _strikes(self, probability: float) -> bool:
        return not self.calm and probability > 0 and self._world.chance(probability)

    # The collectors' side

    def connect(self, link: Link) -> bool:
        """Open a session if link and broker stand; what was kept for the collector follows."""
        if not (self.up and link.whole) or link.up_cut or link.down_cut:
            return False
        self._sessions += 1
        link.session, link.busy_until_s = self._sessions, self._world.now_s
        kept = list(link.kept)
        link.kept.clear()
        for topic, payload in kept:
            self._send_down(link, topic, payload)
        return True

    def send_up(self, link: Link, topic: str, payload: bytes) -> None:
        """Carry a publish from a collector."""
        session = link.session
        link.busy_until_s = max(self._world.now_s, link.busy_until_s) + len(payload) / link.bytes_per_s

        def arrive() -> None:
            if self.up and link.whole and not link.up_cut and link.session == session:
                self._accept(topic, payload)
            else:
                self._world.note(f"lost on the way up: {len(payload)} bytes")

        wait_s = link.busy_until_s - self._world.now_s
        self._world.after(wait_s + self._delay_s(), "up", arrive)

    def _accept(self, topic: str, payload: bytes) -> None:
        """Take a publish; the collector's PUBACK follows in any case and means nothing."""
        if self.drops:
            self._world.note(f"broker took {len(payload)} bytes and dropped them")
            return
        copies = 2 if self._strikes(self._profile.duplicate) else 1
        for _ in range(copies):
            data = self._bent(payload) if self._strikes(self._profile.corrupt) else payload
            self._numbered += 1
            self._queue[self._numbered] = (topic, data)
            self._deliver_later(self._numbered)
        if self._strikes(self._profile.twice):  # to a second consumer, which knows nothing of the first
            self._world.after(self._delay_s(), "twice", lambda: self._to_another(topic, payload))

    def _to_another(self, topic: str, payload: bytes) -> None:
        if self.ingest.up:
            self.ingest.receive(topic, payload)

    def _bent(self, payload: bytes) -> bytes:
        data = bytearray(payload)
        for _ in range(self._world.rng.randint(1, 3)):
            data[self._world.rng.randrange(len(data))] ^= 1 << self._world.rng.randrange(8)
        cut = self._world.rng.randrange(len(data)) if self._world.chance(0.2) else len(data)
        return bytes(data[:cut])

    # The portal's side

    def _deliver_later(self, number: int) -> None:
        self._world.after(self._delay_s(), "deliver", lambda: self._deliver(number))

    def _deliver(self, number: int) -> None:
        if number in self._queue and self.up and self.ingest.up and self.ingest.receive(*self._queue[number]):
            self._queue.pop(number, None)

    def redeliver(self) -> None:
        """Send the portal everything that it has not acknowledged: it connected anew."""
        for number in list(self._queue):
            self._deliver_later(number)

    def send_down(self, collector: CollectorId, topic: str, payload: bytes) -> None:
        """Carry a publish of the portal to a collector."""
        link = self.links[collector]
        if not self.up or self._strikes(self._profile.lose_down):
            self._world.note(f"lost on the way down: {topic}")
            return
        self._send_down(link, topic, payload)

    def _send_down(self, link: Link, topic: str, payload: bytes) -> None:
        session = link.session

        def arrive() -> None:
            if not session or not self.up or not link.whole or link.session != session:
                link.kept.append((topic, payload))
            elif link.down_cut:
                self._world.note(f"lost on the way down: {topic}")
            else:
                link.node.receive(topic, payload)

        self._world.after(self._delay_s(), "down", arrive)

    # Faults

    def stop(self, *, forgets: bool) -> None:
        """Go away, with or without the queues."""
        self.up = False
        if forgets:
            self._queue.clear()
        for link in self.links.values():
            if forgets:
                link.kept.clear()
            self.drop_session(link)

    def start(self) -> None:
        """Come back; the portal connects at once, the collectors when they try again."""
        self.up = True
        self.redeliver()

    def drop_session(self, link: Link) -> None:
        """End a collector's connection."""
        if link.session:
            link.session = 0
            link.node.lose_session()
