"""Decides what is published when, and what an answer means. No thread, no socket, no sleep: time is an argument.

What the broker acknowledges means nothing here (brokers acknowledge publishes that their access rules drop). A batch
leaves the window when the portal's signed ack for its identity and hash was stored; until then the very same bytes are
published again after a time-out and after every reconnection. Unknown means unsent.
"""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from domain.errors import HeadwaterError
from domain.ids import Stream
from sync.errors import BadMessage
from sync.lane import Lane
from sync.outbound import Outgoing, UplinkStatus
from sync.pace import Pace, Throughput, wire_bytes
from sync.resends import Resends
from sync.signing import open_ack, open_command
from sync.topics import ack_topic, batch_topic

if TYPE_CHECKING:
    from collections.abc import Callable

    from domain.clock import Clock
    from domain.ids import BatchId, CollectorId
    from sync.outbound import OutgoingBatch, UplinkPlan, UplinkStore
    from sync.resends import Span
    from sync.signing import Command, VerifyKey

_log = logging.getLogger(__name__)

COMMAND_LIFETIME = timedelta(days=7)
FORKED = frozenset({"conflict", "chain"})
"""Reasons that say the portal's chain and ours have parted: a disk was put back from a copy, its witness with it."""
_STREAMS = (Stream.URGENT, Stream.BULK)
_URGENT_EVERY_S = 1.0
"""Alarms are looked for this often (real time) even when nobody called `wake`."""
_SEAL_AGAIN_S = 1.0
"""How long after a store that could not seal it is asked again; acks, which make room, are taken meanwhile."""
_BATCH_LINK_S = 10.0
"""Under a bandwidth cap a bulk batch is made no larger than what the link takes in this time: an alarm waits for it."""
_ITEMS_MIN = 50
_ITEM_BYTES = 8.0
"""What a read costs until a batch has shown it."""
_SMOOTHING = 0.2
_HURRY_S = 1.0


class Sender:
    """Both streams of one collector. Driven by one thread; `wake` may come from any.

    `due` names the next message; whoever publishes it calls `sent` once its bytes have left this machine, as the time
    for its ack runs from there. A message whose `sent` never comes stays on its way until the next `connected`.

    encode      makes the signed bytes of a seal request (gateway/sending.py wires it to sync.signing).
    keys        finds the portal's key by its key id.
    clock       the collector's: when to seal, and whether a command has expired.
    on_command  carries out a verified, fresh command whose number was not used before; called from `take`.
    """

    def __init__(
        self,
        store: UplinkStore,
        *,
        collector: CollectorId,
        encode: Callable[[Any], bytes],
        keys: Callable[[bytes], VerifyKey | None],
        clock: Clock,
        plan: UplinkPlan,
        on_command: Callable[[Command], None] | None = None,
    ) -> None:
        self._store, self._collector, self._encode, self._keys = store, collector, encode, keys
        self._clock, self._plan, self._on_command = clock, plan, on_command
        self._lanes = {stream: Lane() for stream in _STREAMS}
        self._resends, self._resends_first = Resends(store), False
        self._resends_at = -math.inf
        self._woken: set[Stream] = set()
        self._hurried: set[Stream] = set()
        self._seal_failed = False
        self._pace, self._throughput = Pace(plan.upload_bytes_per_s_max), Throughput()
        self._status = UplinkStatus(upload_bytes_per_s_max=plan.upload_bytes_per_s_max)

    # What the connection does

    def connected(self, now_s: float) -> None:
        """Begin a fresh session: all that is sealed and not acknowledged waits again, whatever was published before."""
        self._load_waiting()
        self._resends.restart()
        self._throughput.restart()
        self._count(connected=True, connections=self._status.connections + 1)

    def disconnected(self) -> None:
        """End the session: nothing is due until the next one."""
        self._count(connected=False)

    def due(self, now_s: float, *, room: bool = True) -> Outgoing | None:
        """Return the next message to publish now: alarms first, resends before new batches; None when there is none.

        now_s  monotonic seconds, always of the same clock.
        room   whether the connection has nothing unsent: one bulk message at a time, so that an alarm never stands
               behind more than one. Alarms do not wait for that, nor for the pace of a metered link.
        """
        if not self._status.connected:
            return None
        batch = self._next(Stream.URGENT, now_s)
        if batch is None and room and self._pace.allows(now_s):
            batch = self._next_bulk(now_s)
        if batch is None:
            return None
        self._pace.charge(len(batch.data), now_s)
        self._count(published=self._status.published + 1)
        return Outgoing(batch_topic(self._collector), batch.data, batch.id)

    def sent(self, outgoing: Outgoing, now_s: float) -> None:
        """Note that a message's bytes have left this machine."""
        flight = self._lanes[outgoing.batch_id.stream].flying.get(outgoing.batch_id)
        if flight is not None:
            flight.sent_at = now_s
        else:
            self._resends.sent(outgoing.batch_id, now_s)

    def resend(self, span: Span) -> str:
        """Publish batches again that the portal asks for; returns why not, empty when they are on their way.

        They travel at the pace of the bulk stream, turn and turn about with it; what travels anyway is left out.
        """
        newest = self._store.last_sequence(span.epoch, span.stream)
        if newest is not None:
            if span.first > newest:
                return f"nothing is sealed beyond {newest}"
            span.last = min(span.last, newest)
        return "" if self._resends.add(span) else "too many resends wait already"

    def wake(self, stream: Stream | None = None) -> None:
        """Seal what a stream (or each) holds now, without waiting for its time: an alarm was stored, or we leave."""
        self._woken.update(_STREAMS if stream is None else (stream,))

    def hurry(self) -> None:
        """Seal what there is; where a full window has no answer yet, ask again soon: somebody waits for the portal."""
        self.wake()
        self._hurried.update(_STREAMS)

    def status(self) -> UplinkStatus:
        """Return the counters."""
        return self._status

    @property
    def in_flight(self) -> int:
        """Batches published and not yet acknowledged."""
        return sum(len(lane.flying) for lane in self._lanes.values()) + self._resends.in_flight

    # What to publish

    def _load_waiting(self) -> None:
        for stream, lane in self._lanes.items():
            lane.load(self._store.unacked(stream, limit=1_000))
        bulk = self._lanes[Stream.BULK].waiting
        if bulk and not self._status.bytes_per_item:
            cost = sum(wire_bytes(len(batch.data)) for batch in bulk)
            self._count(bytes_per_item=cost / sum(batch.items for batch in bulk))

    def _next_bulk(self, now_s: float) -> OutgoingBatch | None:
        """Return the next batch of the bulk stream or of those the portal asked for, in turn."""
        if self._resends_first and (batch := self._next_resend(now_s)) is not None:
            self._resends_first = False
            return batch
        batch = self._next(Stream.BULK, now_s)
        self._resends_first = batch is not None
        return batch or self._next_resend(now_s)

    def _next_resend(self, now_s: float) -> OutgoingBatch | None:
        if now_s < self._resends_at:
            return None
        try:
            found = self._resends.next(now_s, self._plan, self._held)
        except HeadwaterError as error:
            _log.warning("uplink: batches that the portal asks for cannot be read now: %s", error)
            self._resends_at = now_s + _SEAL_AGAIN_S
            return None
        if found is None:
            return None
        batch, again = found
        self._count(requested=self._status.requested + (not again), resent=self._status.resent + again)
        return batch

    def _held(self, batch_id: BatchId) -> bool:
        return self._lanes[batch_id.stream].holds(batch_id)

    def _next(self, stream: Stream, now_s: float) -> OutgoingBatch | None:
        lane = self._lanes[stream]
        if stream in self._woken:
            self._woken.discard(stream)
            lane.seal_at = -math.inf
        if stream in self._hurried:
            self._hurried.discard(stream)
            lane.probe_s = min(_HURRY_S, self._plan.probe_first_s)
        flight = lane.overdue(now_s, self._plan)
        if flight is not None:
            lane.take_off_again(flight, self._plan)
            self._count(resent=self._status.resent + 1)
            return flight.batch
        if not lane.has_room(self._plan.window):
            return None
        batch = lane.waiting.popleft() if lane.waiting else self._seal(stream, lane, now_s)
        if batch is not None:
            lane.take_off(batch, self._plan.ack_timeout_s)
            if stream is Stream.BULK:
                self._throughput.began(now_s)
        return batch

    def _seal(self, stream: Stream, lane: Lane, now_s: float) -> OutgoingBatch | None:
        """Return a new batch when one is due: at its interval, when woken, or when the one before was a full one."""
        urgent = stream is Stream.URGENT
        now = now_s if urgent else self._clock.monotonic()
        if now < lane.seal_at:
            return None
        most = self._plan.max_items if urgent else self._bulk_items_max()
        try:
            batch = self._store.seal(stream, self._collector, self._encode, max_items=most)
        except HeadwaterError as error:
            # A full disk: the connection stays, as the acks that it brings make room.
            if not self._seal_failed:
                _log.warning("uplink: no batch can be sealed (%s); those sealed before go on", error)
            self._seal_failed, lane.seal_at = True, now + _SEAL_AGAIN_S
            return None
        self._seal_failed = False
        if batch is None or batch.items < most:
            lane.seal_at = now + (_URGENT_EVERY_S if urgent else self._plan.seal_every_s)
        if batch is not None and not urgent:
            cost, known = wire_bytes(len(batch.data)) / batch.items, self._status.bytes_per_item
            self._count(bytes_per_item=known + _SMOOTHING * (cost - known) if known else cost)
        return batch

    def _bulk_items_max(self) -> int:
        cap = self._plan.upload_bytes_per_s_max
        if not cap:
            return self._plan.max_items
        fitting = int(cap * _BATCH_LINK_S / (self._status.bytes_per_item or _ITEM_BYTES))
        return min(self._plan.max_items, max(_ITEMS_MIN, fitting))

    # What arrives

    def take(self, topic: str, payload: bytes, now_s: float) -> None:
        """Handle an ack or a command; whatever arrives, nothing is raised and nothing is believed unverified."""
        try:
            if topic == ack_topic(self._collector):
                self._take_ack(payload, now_s)
            else:
                self._take_command(payload)
        except BadMessage as error:
            _log.warning("uplink: ignored a message on %s: %s", topic, error)
            self._count(bad_messages=self._status.bad_messages + 1)
        except HeadwaterError as error:
            # A store that cannot write just now: nothing is settled, the batch is published again and acked again.
            _log.warning("uplink: a message on %s could not be kept: %s", topic, error)

    def _take_ack(self, payload: bytes, now_s: float) -> None:
        ack = open_ack(payload, collector=self._collector, keys=self._keys)
        self._resends.settle(ack.batch_id, ack.batch_hash)
        if ack.committed:
            known = self._store.acked(ack.batch_id, ack.batch_hash)
        elif ack.reason_code in FORKED and self._store.forked(ack.batch_id, ack.batch_hash):
            _log.error(
                "uplink: the portal holds other batches under our numbers (%s); a new epoch begins", ack.batch_id
            )
            self._count(rejected=self._status.rejected + 1, last_ack_at=self._clock.now())
            self._load_waiting()
            return
        else:
            known = self._store.rejected(ack.batch_id, ack.batch_hash, ack.reason_code)
        if not known:
            self._count(unknown_acks=self._status.unknown_acks + 1)
            return
        lane = self._lanes[ack.batch_id.stream]
        flight = lane.flying.get(ack.batch_id)
        if not lane.settle(ack.batch_id):
            return
        if flight is not None and ack.batch_id.stream is Stream.BULK:
            self._throughput.acked(len(flight.batch.data), now_s, more=bool(lane.flying))
            self._count(bytes_per_s=self._throughput.bytes_per_s)
        if ack.committed:
            self._count(committed=self._status.committed + 1, last_ack_at=self._clock.now())
        else:
            _log.error("uplink: the portal rejected batch %s (%s); it is set aside", ack.batch_id, ack.reason_code)
            self._count(rejected=self._status.rejected + 1, last_ack_at=self._clock.now())

    def _take_command(self, payload: bytes) -> None:
        command = open_command(
            payload, collector=self._collector, keys=self._keys, now=self._clock.now(), longest=COMMAND_LIFETIME
        )
        if not self._store.use_nonce(command.nonce, command.expires_at):
            _log.info("uplink: command %s was carried out before", command.nonce.hex())
            return
        self._count(commands=self._status.commands + 1)
        if self._on_command is not None:
            self._on_command(command)

    def _count(self, **changes: Any) -> None:
        self._status = replace(self._status, **changes)
