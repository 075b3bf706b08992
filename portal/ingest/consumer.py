"""The ingest process: takes signed batches off the broker, applies them, acknowledges after the commit.

One thread receives into a fair queue and applies. A message is acknowledged to the broker only when it is done with, so
whatever was in hand when this process died comes again; that is harmless, because a batch that is stored already is
only acknowledged again. What a collector sends beyond its quota is acknowledged to the broker unprocessed and counted:
without the portal's signed ack it sends that again. While the database is away nothing is acknowledged at all and the
broker keeps what it has: memory stays within the queue.
"""

from __future__ import annotations

import functools
import logging
import threading
import time
import traceback
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from django.conf import settings
from django.db import Error as DatabaseFault
from django.db import InterfaceError, OperationalError, connection

from domain.ids import PARTITIONS, CollectorId
from portal.core.clock import now
from portal.fleet import commands, quotas
from portal.fleet.broker import INGEST_NAME
from portal.fleet.services import portal_signing_key
from portal.ingest import letters
from portal.ingest.apply import apply_batch
from portal.ingest.fair_queue import FairQueue, Quota
from portal.ingest.holes import due_asks
from portal.ingest.session import Session
from sync.topics import ack_topic, batch_filter, command_topic, parse_batch_topic

if TYPE_CHECKING:
    from collections.abc import Callable

    import paho.mqtt.client as mqtt

    from portal.ingest.apply import Answer

_LOG = logging.getLogger(__name__)
_IDLE_S = 0.5
_RECEIVE_LONGEST_S = 0.25
"""How long a flood may be received before one batch is applied: behind it in the broker's queue others may wait. As
soon as anybody but the one served last has something in hand, receiving ends."""

_RESTING_S = 0.02
_GREEDY_FOR_S, _GREEDY_SHARE = 2.0, 0.1
"""For so long after its last message over quota a collector has at most this share of a worker's time."""

_RETRY_FIRST_S, _RETRY_LONGEST_S = 0.2, 10.0
_RESEND_EXPIRES = timedelta(hours=1)
_FAULT_TRIES = 5
_RACE_TRIES = 3


@dataclass
class Counters:
    """What this process did since it started."""

    committed: int = 0
    rejected: int = 0
    refused: int = 0
    unrecorded: int = 0
    faults: int = 0
    over_quota: int = 0
    asked: int = 0
    database_retries: int = 0

    def line(self, *, connected: bool, waiting: int) -> str:
        """Return the line of state."""
        return (
            f"ingest {'connected' if connected else 'not connected'}: {self.committed} committed, "
            f"{self.rejected} rejected, {self.refused} refused ({self.unrecorded} of them not written down), "
            f"{self.faults} faults, {self.over_quota} over quota, {self.asked} asked for again, "
            f"{waiting} waiting, {self.database_retries} retries"
        )


@dataclass(slots=True)
class _Work:
    """A message in hand, or a dead letter that is tried again.

    collector   None when its topic is none.
    connection  over which it came, with the packet number `mid`.
    letter      the row's number; failures: how often the database failed over it.
    """

    data: bytes
    collector: CollectorId | None
    topic: str = ""
    mid: int = 0
    qos: int = 0
    connection: int = 0
    letter: int | None = None
    failures: int = 0
    done_before: int = 0


@dataclass
class Consumer:
    """Connects one persistent session and applies what comes until it is stopped.

    partitions  of the collectors to serve, None for all: several consumers share the load on any broker.
    """

    partitions: frozenset[int] | None = None
    quota: Quota = field(default_factory=Quota)
    counters: Counters = field(default_factory=Counters)

    def __post_init__(self) -> None:
        self._queue: FairQueue[_Work] = FairQueue(self.quota)
        self._stopping = threading.Event()
        self._limit = letters.RefusalLimit(time.monotonic)
        self._over_quota: dict[str, int] = {}
        self._told: set[str] = set()
        self._greedy_until_s: dict[str, float] = {}
        self._rest_until_s: dict[str, float] = {}
        self._nothing_to_serve = False
        self._with_letters: frozenset[str] = frozenset()
        self._done = 0
        self._pause_s, self._away_until_s = _RETRY_FIRST_S, 0.0
        self._chores = _chores(self)
        portal_signing_key(str(settings.PORTAL_DIR))  # without it nothing could be acknowledged: fail now
        self._session = Session(
            client_id(self.partitions), _filters(self.partitions), on_message=self._took, on_lost=self._lost
        )

    def run(self) -> None:
        """Serve until `stop`; survives a broker or a database that is away, however long."""
        _LOG.info("ingest starts; broker %s; %s", settings.BROKER_URL, client_id(self.partitions))
        try:
            while not self._stopping.is_set():
                self._turn()
        finally:
            self._session.close()
            connection.close()

    def stop(self) -> None:
        """Finish the batch in hand, then return from `run`. Safe to call from a signal handler."""
        self._stopping.set()

    # What arrives

    def _turn(self) -> None:
        """Receive for a moment, do what is due, then apply one batch."""
        if self._is_away():
            self._receive_nothing_more()
            return
        self._session.pump(self._wait_s(), longest_s=_RECEIVE_LONGEST_S, enough=self._somebody_else_waits)
        for chore in self._chores:
            chore.run_if_due()
        if not self._is_away() and (taken := self._queue.take(self._rests)) is not None:
            self._serve(*taken)
            self._nothing_to_serve = False
        else:
            self._nothing_to_serve = True

    def _rests(self, name: str) -> bool:
        return self._rest_until_s.get(name, 0.0) > time.monotonic()

    def _rest(self, name: str, service_s: float) -> None:
        """Let a collector that sends too much have a share of the time and no more, even when nobody else waits now.

        What is applied for it takes processor and disk from the other workers and from the database.
        """
        moment_s = time.monotonic()
        if moment_s < self._greedy_until_s.get(name, 0.0):
            self._rest_until_s[name] = moment_s + service_s * (1 / _GREEDY_SHARE - 1)
        else:
            self._rest_until_s.pop(name, None)
            self._greedy_until_s.pop(name, None)

    def _wait_s(self) -> float:
        """How long the next message may be waited for."""
        if not self._queue:
            return _IDLE_S
        return _RESTING_S if self._nothing_to_serve else 0.0

    def _receive_nothing_more(self) -> None:
        """While the database is away: keep the connection, take in hand what fits, acknowledge nothing."""
        wait_s = max(0.0, min(_IDLE_S, self._away_until_s - time.monotonic()))
        if self._queue.is_full:
            self._stopping.wait(wait_s)
        else:
            self._session.pump(wait_s, longest_s=0.0)

    def _somebody_else_waits(self) -> bool:
        return self._queue.urgent()

    def _took(self, message: mqtt.MQTTMessage) -> None:
        work = _work_of(message, self._session.connection)
        key = work.collector or _sender(work.topic)
        for name, spared in self._queue.put(key, work, len(work.data), spare=not self._is_away()):
            self._count_over_quota(name)
            self._ack(spared)

    def _count_over_quota(self, name: str) -> None:
        self.counters.over_quota += 1
        self._over_quota[name] = self._over_quota.get(name, 0) + 1
        self._greedy_until_s[name] = time.monotonic() + _GREEDY_FOR_S
        if name not in self._told:
            self._told.add(name)
            _LOG.warning("%s sends more than its quota; what is too much is left for it to send again", name)

    def _lost(self) -> None:
        """The connection is gone: what came over it comes again."""
        self._queue.clear()

    def _is_away(self) -> bool:
        return time.monotonic() < self._away_until_s

    # What is done with it

    def _serve(self, key: str, work: _Work) -> None:
        """Apply one batch; whatever it does, the next one is served."""
        began_s = time.monotonic()
        try:
            self._apply(work)
        except DatabaseFault as error:
            if not self._is_its_own_fault(work, error):
                self._put_off(key, work, error)
                return
            self._fault(key, work, error)
        except Exception as error:
            self._fault(key, work, error)
        else:
            self._finish(work)
        finally:
            service_s = time.monotonic() - began_s
            self._queue.charge(key, service_s)
            self._rest(key, service_s)

    def _finish(self, work: _Work) -> None:
        self._done += 1
        self._pause_s = _RETRY_FIRST_S
        self._ack(work)

    def _ack(self, work: _Work) -> None:
        self._session.ack(work.mid, work.qos, connection=work.connection)

    def _is_its_own_fault(self, work: _Work, error: DatabaseFault) -> bool:
        """Tell a batch that the database cannot take from a database that is away, locked or raced for.

        It is the batch when it failed again and again while others were done.
        """
        work.failures += 1
        if work.failures == 1:
            work.done_before = self._done
        if isinstance(error, OperationalError | InterfaceError):
            return work.failures >= _FAULT_TRIES and self._done > work.done_before
        return work.failures >= _RACE_TRIES

    def _put_off(self, key: str, work: _Work, error: DatabaseFault) -> None:
        """Keep a batch in hand, behind the others of its collector, and leave the database alone for a moment."""
        self.counters.database_retries += 1
        if work.connection == self._session.connection:
            self._queue.put_back(key, work, len(work.data))
        self.away(error)

    def _fault(self, key: str, work: _Work, error: Exception) -> None:
        """Lay a batch that trips a fault of ours aside as a dead letter; its collector is not told and keeps it."""
        _LOG.error("a batch of %d bytes from %s could not be applied", len(work.data), key, exc_info=error)
        self.counters.faults += 1
        connection.close()
        refusal = letters.Refusal(work.data, "fault", key, now(), None, _where(error))
        try:
            if work.letter is not None:
                letters.refused_again(work.letter, refusal, now())
            else:
                self._record(refusal)
        except DatabaseFault as away:
            self._put_off(key, work, away)
            return
        self._finish(work)

    def _apply(self, work: _Work) -> None:
        if work.collector is None:
            self.counters.refused += 1
            self._record(letters.Refusal(work.data, "topic", _sender(work.topic), now(), None, work.topic))
            return
        if work.letter is not None:
            self._retry(work.letter, work.data, work.collector)
            return
        answer = apply_batch(work.data, work.collector, now(), record=self._record)
        self._count(answer)
        if answer is not None and answer.committed and work.collector in self._with_letters:
            letters.taken(work.data, work.collector)
        self._answer(work.collector, answer)

    def _retry(self, letter: int, data: bytes, collector: CollectorId) -> None:
        """Try a dead letter again, as if it had just arrived."""
        refusals: list[letters.Refusal] = []
        answer = apply_batch(data, collector, now(), record=lambda refusal: not refusals.append(refusal))  # type: ignore[func-returns-value]
        self._count(answer)
        if answer is not None and answer.committed:
            letters.taken(data, collector)
        else:
            letters.refused_again(letter, refusals[0] if refusals else None, now())
        self._answer(collector, answer)

    def _record(self, refusal: letters.Refusal) -> bool:
        if not self._limit.allows(refusal.collector):
            self.counters.unrecorded += 1
            return False
        return letters.record_refusal(refusal)

    def _count(self, answer: Answer | None) -> None:
        if answer is None:
            self.counters.refused += 1
        elif answer.committed:
            self.counters.committed += 1
        else:
            self.counters.rejected += 1

    def _answer(self, collector: CollectorId, answer: Answer | None) -> None:
        """Publish the signed ack. If it is lost the collector sends the batch again and is answered again."""
        if answer is not None:
            self._session.publish(ack_topic(collector), answer.signed)

    # What is due from time to time

    def take_letters(self) -> None:
        """Take in hand what staff want tried again."""
        self._with_letters = letters.collectors_with_letters()
        for row in letters.waiting_for_retry():
            if (collector := _collector(row.topic_collector)) is None or not self._serves(collector):
                continue
            data = bytes(row.signed or b"")
            if self._queue.has_room(collector, len(data)):
                self._queue.put(
                    collector, _Work(data, collector, connection=self._session.connection, letter=row.pk), len(data)
                )

    def send_commands(self) -> None:
        """Publish what is due in the outbox."""
        if not commands.waits():
            return
        for outgoing in commands.due_commands(now()):
            self._session.publish(command_topic(outgoing.collector), outgoing.signed)

    def ask_for_holes(self) -> None:
        """Ask collectors for the batches that are missing here."""
        moment = now()
        for ask in due_asks(moment):
            body = {"epoch": ask.epoch.hex(), "stream": int(ask.stream), "first": ask.first, "last": ask.last}
            command = commands.fresh("resend", body, at=moment, expires_in=_RESEND_EXPIRES)
            self._session.publish(command_topic(ask.collector_id), commands.signed(command, ask.collector_id))
            self.counters.asked += 1

    def write_over_quota(self) -> None:
        """Write down which collectors sent too much, for staff to see."""
        counts, self._over_quota = self._over_quota, {}
        quotas.count_over_quota(counts, at=now())

    def log_state(self) -> None:
        """Log one line of state."""
        _LOG.info("%s", self.counters.line(connected=self._session.ready, waiting=len(self._queue)))

    def away(self, error: DatabaseFault) -> None:
        """Leave the database alone for a moment, each time a longer one."""
        if self._pause_s == _RETRY_FIRST_S:
            _LOG.warning("the database is away or locked, trying again: %s", error)
        connection.close()
        self._away_until_s = time.monotonic() + self._pause_s
        self._pause_s = min(2 * self._pause_s, _RETRY_LONGEST_S)

    def _serves(self, collector: CollectorId) -> bool:
        return self.partitions is None or collector.partition in self.partitions


@dataclass
class _Chore:
    """Something that is done every so often, between two batches."""

    every_s: float
    run: Callable[[], None]
    away: Callable[[DatabaseFault], None]
    due_s: float = 0.0

    def run_if_due(self) -> None:
        """Do it when its time has come; a fault of it never stops the batches."""
        now_s = time.monotonic()
        if now_s < self.due_s:
            return
        self.due_s = now_s + self.every_s
        try:
            self.run()
        except DatabaseFault as error:
            self.away(error)
        except Exception:
            _LOG.exception("ingest could not do a chore; it is tried again in %.0f s", self.every_s)


def _chores(consumer: Consumer) -> tuple[_Chore, ...]:
    return tuple(
        _Chore(every_s, run, consumer.away, time.monotonic() + first_s)
        for every_s, first_s, run in (
            (1.0, 0.0, consumer.take_letters),
            (1.0, 0.5, consumer.send_commands),
            (5.0, 5.0, consumer.ask_for_holes),
            (10.0, 10.0, consumer.write_over_quota),
            (60.0, 60.0, consumer.log_state),
        )
    )


def client_id(partitions: frozenset[int] | None) -> str:
    """Return the MQTT client id of a worker: it follows from what it serves, and so does its session at the broker."""
    if partitions is None:
        return INGEST_NAME
    return f"{INGEST_NAME}-{sum(1 << partition for partition in partitions):04x}"


def _filters(partitions: frozenset[int] | None) -> list[str]:
    if partitions is None or len(partitions) == PARTITIONS:
        return [batch_filter()]
    return [batch_filter(partition) for partition in sorted(partitions)]


def _work_of(message: mqtt.MQTTMessage, connection: int) -> _Work:
    topic = _shown(message)
    return _Work(bytes(message.payload), _collector_of(topic), topic, message.mid, message.qos, connection)


@functools.lru_cache(maxsize=4096)
def _collector_of(topic: str) -> CollectorId | None:
    """Return whose batch topic it is, None when it is none; remembered: a flood has one topic."""
    try:
        return parse_batch_topic(topic)
    except ValueError:
        return None


def _shown(message: mqtt.MQTTMessage) -> str:
    try:
        return message.topic
    except UnicodeDecodeError:
        return "not text"


def _sender(topic: str) -> str:
    """Return who published under a topic that is no batch topic: brokers let a collector use its own name alone."""
    parts = topic.split("/")
    return (parts[3] if len(parts) > 3 else topic)[:64]


def _collector(name: str) -> CollectorId | None:
    try:
        return CollectorId(name)
    except ValueError:
        return None


def _where(error: Exception) -> str:
    """Return what struck and where in the program, without its message: that may tell what a meter counted."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{place}"
