"""One owner per bus: it opens the line, asks who is due, and turns whatever happens into reads and events.

Everything that wants the line goes through its owner: the plan's polls, and the jobs (on-demand reads, scans) that a
technician or the portal asks for, which come first. Nothing here ends the service: a missing device, a damaged reply
and a driver's own fault are events, and the next poll comes.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections import deque
from concurrent.futures import Future
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from domain.errors import ConfigError, ResourceUnavailable
from domain.reading import Event, EventKind, ReadFlag, RegisterRead
from drivers.base import Deadline
from drivers.errors import BadReply, LinkDown, MeterError, NoReply
from gateway import schedule
from gateway.bus_work import BusState, Job, MeterState, Search
from gateway.explain import explained, reason_of
from gateway.plans import char_time_s

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from domain.ids import MeterId
    from drivers.base import Link, MeterDriver, MeterReply, MeterTarget
    from gateway.commit import CommitWindow
    from gateway.memory import Memory
    from gateway.plans import BusPlan
    from gateway.schedule import PlannedMeter
    from gateway.timekeeping import CollectorClock

REOPEN_FIRST_S = 1.0
REOPEN_MAX_S = 60.0
EVIDENCE_BYTES = 512

log = logging.getLogger(__name__)


class BusOwner:
    """Executes the plan of one bus in a thread of its own. `step` does one thing and can be driven by a test instead.

    open_line  opens the link anew; raises ResourceUnavailable naming the fix.
    histories  what is known from before the start, so that a restart does not read everybody twice.
    """

    def __init__(
        self,
        plan: BusPlan,
        *,
        clock: CollectorClock,
        window: CommitWindow,
        memory: Memory,
        open_line: Callable[[], Link],
        histories: Mapping[str, schedule.History] | None = None,
    ) -> None:
        self.plan, self.state = plan, BusState()
        self._clock, self._window, self._memory, self._open_line = clock, window, memory, open_line
        self._agenda = schedule.Agenda(plan.plan, histories)
        self._char_time_s = char_time_s(plan.bus)
        self._timeouts_s: dict[MeterTarget, float] = {}
        self._link: Link | None = None
        self._reopen_at_s = 0.0
        self._reopen_pause_s = REOPEN_FIRST_S
        self._hung_up_at: set[str] = set()
        self._round_began_s: float | None = None
        self._jobs: deque[Job] = deque()
        self._searches: deque[Search] = deque()
        self._wake = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=f"bus-{plan.bus.name}", daemon=True)
        for meter in plan.plan.meters:
            self.state.meters[meter.meter_id] = MeterState()

    # -- asked from other threads ------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Ask the thread to end after the exchange it is in; jobs that wait are refused."""
        with self._wake:
            self._stopping = True
            self._wake.notify_all()

    def join(self, timeout_s: float | None = None) -> None:
        """Wait for the thread to end."""
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    @property
    def stopping(self) -> bool:
        """Whether the owner was asked to stop (long jobs look at it)."""
        return self._stopping

    def submit(self, name: str, work: Callable[[Link], Any]) -> Future[Any]:
        """Have `work` done with the open line before the next poll; the future carries its result or its error."""
        job = Job(name, work, Future())
        with self._wake:
            if self._stopping:
                job.future.set_exception(ResourceUnavailable("the gateway is stopping; ask again when it runs"))
                return job.future
            self._jobs.append(job)
            self._wake.notify_all()
        return job.future

    def read_now(self, target: MeterTarget, driver: MeterDriver) -> Future[MeterReply]:
        """Read one meter before the next poll. The reads of a meter in the plan are stored, flagged ON_DEMAND."""

        attempts = max(2, self.plan.attempts)
        action = self._event(EventKind.TECHNICIAN_ACTION, None, action="read", address=target.address)

        def work(link: Link) -> MeterReply:
            known = target.meter_id in self.plan.targets
            began_s = self._clock.monotonic()
            try:
                reply, reads = self._ask(target, driver, link, attempts=attempts, told=known)
            except MeterError as error:
                if isinstance(error.__cause__, ConfigError):
                    raise error.__cause__ from None  # the fault is in what was asked, and no meter's
                took_s = self._clock.monotonic() - began_s
                explained(
                    error, target.address, bus=self.plan.bus, driver=driver.name, attempts=attempts, took_s=took_s
                )
                raise
            self._window.add((), [action])
            if known:
                asked_for = [replace(read, flags=read.flags | ReadFlag.ON_DEMAND) for read in reads]
                self._keep(target, reply, asked_for)
                self._window.flush()
            return replace(reply, reads=tuple(reads))

        return self.submit(f"read {target.address}", work)

    def scan(self, driver: MeterDriver, *, first: int = 1, last: int | None = None) -> Search:
        """Look for meters in the time that the plan leaves over: a scan delays no poll by more than one step."""
        search = Search(lambda link: driver.scan(link, clock=self._clock, first=first, last=last))
        with self._wake:
            if self._stopping:
                search.end(ResourceUnavailable("the gateway is stopping; ask again when it runs"))
            else:
                self._searches.append(search)
                self._wake.notify_all()
        return search

    # -- the owner's own thread --------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopping:
            try:
                wait_s = self.step()
            except Exception:
                # Unforeseen: the line is opened anew after a pause, and the other buses never notice.
                log.exception("bus %s: going on after a fault of our own", self.plan.bus.name)
                self._close()
                wait_s = self._reopen_pause_s = REOPEN_MAX_S / 2
                self._reopen_at_s = self._clock.monotonic() + wait_s
            if wait_s is not None:
                with self._wake:
                    if not self._jobs and not self._searches and not self._stopping:
                        # At most a minute at once: the plan is asked again, whatever happened to the clocks.
                        self._wake.wait(min(60.0, self._clock.real_seconds(wait_s)))
        self._end_round()
        self._refuse_jobs()
        self._end_searches()
        self._close()

    def step(self) -> float | None:
        """Do the next thing: a job, opening the line, or a poll. Returns the seconds to wait, None to go on at once."""
        job = self._take_job() if self._jobs else None
        if job is not None:
            self._do(job)
            return None
        now_s = self._clock.monotonic()
        if self._link is None:
            if now_s < self._reopen_at_s:
                return self._reopen_at_s - now_s
            if not self._open():
                self._end_searches()
                return self._reopen_at_s - self._clock.monotonic()
            return None
        meter, at_s = self._agenda.next_poll(now_s)
        if meter is None:
            self._end_round()
            return None if self._search() else at_s - now_s
        if self._round_began_s is None:
            self._round_began_s = now_s
        self._poll(meter, now_s)
        return None

    def _search(self) -> bool:
        """Do one step of the oldest scan; False when there is none."""
        with self._wake:
            search = self._searches[0] if self._searches else None
        if search is None:
            return False
        assert self._link is not None
        self.state.busy_with = "scan"
        if not search.step(self._link):
            self.state.busy_with = ""
            with self._wake:
                self._searches.popleft()
        return True

    def _end_searches(self) -> None:
        with self._wake:
            searches, self._searches = list(self._searches), deque()
        for search in searches:
            search.end(ResourceUnavailable(self.state.message or "the gateway is stopping"))

    def _take_job(self) -> Job | None:
        with self._wake:
            return self._jobs.popleft() if self._jobs else None

    def _refuse_jobs(self) -> None:
        while (job := self._take_job()) is not None:
            job.future.set_exception(ResourceUnavailable("the gateway is stopping; ask again when it runs"))

    def _do(self, job: Job) -> None:
        """Do one job; its error goes to whoever asked, and a line that fell is opened again by the next step."""
        if not job.future.set_running_or_notify_cancel():
            return
        self.state.busy_with = job.name
        try:
            if self._link is None:
                self._link = self._open_line()
                self._line_is_up()
            job.future.set_result(job.work(self._link))
        except LinkDown as error:
            self._line_is_down(error)
            job.future.set_exception(error)
        except Exception as error:  # whoever asked is told; the line goes on
            job.future.set_exception(error)
        finally:
            self.state.busy_with = ""

    def _end_round(self) -> None:
        """Make the round durable; called with nothing due."""
        self._window.flush()
        self.state.missed_slots = self._agenda.missed
        if self._round_began_s is not None:
            self.state.last_round_s = self._clock.monotonic() - self._round_began_s
            self._round_began_s = None

    # -- the line ----------------------------------------------------------------------------------------------------

    def _open(self) -> bool:
        """Open the line; False when it cannot be, with the next try put off."""
        try:
            self._link = self._open_line()
        except (ResourceUnavailable, LinkDown) as error:
            self._line_is_down(error)
            return False
        self._line_is_up()
        return True

    def _line_is_up(self) -> None:
        self._reopen_pause_s = REOPEN_FIRST_S
        self.state.state, self.state.message = "up", ""
        if self._memory.set("line-down", self.plan.bus.name, None):
            log.warning("bus %s is back at %s", self.plan.bus.name, self.plan.bus.where)
            self._window.add((), [self._event(EventKind.LINE_RETURNED, None, where=self.plan.bus.where)])

    def _line_is_down(self, error: Exception) -> None:
        """Note a line that cannot be used: an event the first time, then only ever longer pauses."""
        self._close()
        self._reopen_at_s = self._clock.monotonic() + self._reopen_pause_s
        self._reopen_pause_s = min(REOPEN_MAX_S, self._reopen_pause_s * 2)
        self.state.state, self.state.message = "down", str(error)
        if self._memory.get("line-down", self.plan.bus.name) is None:
            self._memory.set("line-down", self.plan.bus.name, self._clock.now().isoformat())
            log.error("bus %s is down: %s", self.plan.bus.name, error)
            event = self._event(EventKind.LINE_DOWN, None, where=self.plan.bus.where, message=str(error))
            self._window.add((), [event])
        self._end_round()

    def _close(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.close()

    # -- a poll ------------------------------------------------------------------------------------------------------

    def _poll(self, meter: PlannedMeter, now_s: float) -> None:
        """Ask one meter in its slot and write its history."""
        target, driver = self.plan.targets[meter.meter_id], self.plan.drivers[meter.meter_id]
        history = self._agenda.history(meter)
        attempts = self.plan.attempts if history.failures == 0 else 1
        assert self._link is not None
        try:
            reply, reads = self._ask(target, driver, self._link, attempts=attempts)
        except LinkDown as error:
            # A device that hung up between two rounds is called again once, at once, before that counts as a fault.
            self._close()
            try:
                self._link = self._open_line()
            except (LinkDown, ResourceUnavailable):
                self._line_is_down(error)
                return
            try:
                reply, reads = self._ask(target, driver, self._link, attempts=1)
            except LinkDown as again:
                self._hung_up(meter, history, again)
                return
            except MeterError as second:
                self._failed(meter, history, second)
                return
        except MeterError as error:
            self._failed(meter, history, error)
            return
        if self._hung_up_at:
            self._hung_up_at.clear()
        self._agenda.note(meter, schedule.succeeded(meter, now_s))
        if self._memory.knows(target.meter_id):
            self._returned(target)
        self._keep(target, reply, reads)

    def _hung_up(self, meter: PlannedMeter, history: schedule.History, error: LinkDown) -> None:
        """Tell a line that is gone from one that opens and goes at one meter, whose fault must not cost the others."""
        self._hung_up_at.add(meter.meter_id)
        if len(self._hung_up_at) >= min(2, len(self.plan.plan.meters)):
            self._line_is_down(error)
            return
        self._close()
        self._failed(meter, history, error)

    def _ask(
        self, target: MeterTarget, driver: MeterDriver, link: Link, *, attempts: int, told: bool = True
    ) -> tuple[MeterReply, list[RegisterRead]]:
        """Ask up to `attempts` times; return the reply, and its reads as they are kept.

        raises  the last error. Each reply that cannot be used is an event, if `told`.
        """
        timeout_s = self._timeout_s(target, driver)
        for attempt in range(attempts):
            try:
                reply = driver.read(target, link, deadline=Deadline(self._clock, timeout_s), clock=self._clock)
            except LinkDown:
                raise
            except NoReply as error:
                failure: MeterError = error
                self.state.no_replies += 1
                if error.seen and told:
                    self._bad_reply(target, "noise", error, error.seen)
            except BadReply as error:
                failure = error
                self.state.bad_replies += 1
                if told:
                    self._bad_reply(target, reason_of(error), error, error.reply)
            except ConfigError as error:
                raise MeterError(str(error), meter_id=target.meter_id) from error
            except MeterError as error:
                failure = error
            except Exception as error:
                # A driver's own fault on one meter's bytes must not take the other meters with it.
                log.exception("the driver of meter %s failed", target.meter_id)
                failure = MeterError(f"the driver failed: {error!r}", meter_id=target.meter_id)
                self.state.bad_replies += 1
                if told:
                    self._bad_reply(target, "driver-error", error, b"")
            else:
                self.state.replies += 1
                return reply, self._stamped(reply, ReadFlag.RETRIED if attempt else ReadFlag.NONE)
        raise failure

    def _timeout_s(self, target: MeterTarget, driver: MeterDriver) -> float:
        """Return how long one read may take, worked out once for each meter of the plan."""
        timeout_s = self._timeouts_s.get(target)
        if timeout_s is None:
            timeout_s = driver.timeout_s(target, char_time_s=self._char_time_s)
            if self.plan.targets.get(target.meter_id) is target:
                self._timeouts_s[target] = timeout_s
        return timeout_s

    def _stamped(self, reply: MeterReply, flags: ReadFlag) -> list[RegisterRead]:
        """Return a reply's reads with what only the gateway knows: whether the clock was set, who was asked twice."""
        reads, clock = [], self._clock
        for read in reply.reads:
            read_at, state = clock.stamp(read.read_at, read.clock.monotonic_ns)
            marks = read.flags if flags is ReadFlag.NONE else read.flags | flags
            # Spelt out: dataclasses.replace costs as much as the rest of this function.
            reads.append(RegisterRead(read.register, read.raw_count, read_at, state, read.quality, read.reason, marks))
        return reads

    def _keep(self, target: MeterTarget, reply: MeterReply, reads: Sequence[RegisterRead]) -> None:
        """Put a reply's reads into the commit window, with an event when somebody else answered or complains."""
        events: list[Event] = []
        if reply.unexpected or reply.alarms or self._memory.knows(target.meter_id):
            events = self._news(target, reply)
        state = self.state.meters.get(target.meter_id)
        if state is not None and reads:
            first = reads[0]
            state.failures, state.last_error = 0, ""
            state.last_read_at, state.last_count = first.read_at, first.raw_count
        self._window.add(reads, events)

    def _news(self, target: MeterTarget, reply: MeterReply) -> list[Event]:
        """Return what a reply says that is new: another meter answered, complaints."""
        events = []
        answered = str(reply.identity or reply.meter_id) if reply.unexpected else None
        if self._memory.set("identity", target.meter_id, answered) and answered is not None:
            log.warning("meter %s: another meter answered, %s", target.meter_id, answered)
            events.append(
                self._event(
                    EventKind.IDENTITY_CHANGED,
                    target.meter_id,
                    address=target.address,
                    answered=answered,
                    answered_meter=str(reply.meter_id),
                )
            )
        alarms = sorted(reply.alarms) if reply.alarms else []
        if self._memory.set("alarms", target.meter_id, ",".join(alarms) if alarms else None):
            events.append(self._event(EventKind.METER_ALARM, reply.meter_id, alarms=alarms))
        return events

    def _failed(self, meter: PlannedMeter, history: schedule.History, error: MeterError) -> None:
        """Note a slot without a good read; the first that opens the breaker is an event and a line in the log."""
        after = schedule.failed(self.plan.plan, meter, history, self._clock.monotonic())
        self._agenda.note(meter, after)
        state = self.state.meters[meter.meter_id]
        state.failures, state.last_error = after.failures, str(error)
        if after.failures < self.plan.plan.silent_after:
            return
        since = self._clock.now().isoformat()
        target = self.plan.targets[meter.meter_id]
        if self._memory.get("silent", meter.meter_id) is None and self._memory.set("silent", meter.meter_id, since):
            log.warning("meter %s is silent: %s", meter.meter_id, error)
            reason = "no-reply" if isinstance(error, NoReply) else reason_of(error)
            event = self._event(
                EventKind.METER_SILENT, target.meter_id, reason=reason, message=str(error), failures=after.failures
            )
            self._window.add((), [event])

    def _returned(self, target: MeterTarget) -> None:
        since = self._memory.get("silent", target.meter_id)
        if since is not None and self._memory.set("silent", target.meter_id, None):
            log.warning("meter %s is back; it was silent since %s", target.meter_id, since)
            self._window.add((), [self._event(EventKind.METER_RETURNED, target.meter_id, silent_since=since)])

    def _bad_reply(self, target: MeterTarget, reason: str, error: Exception, evidence: bytes) -> None:
        event = self._event(
            EventKind.BAD_REPLY,
            target.meter_id,
            reason=reason,
            message=str(error),
            reply=evidence[:EVIDENCE_BYTES].hex(),
            reply_bytes=len(evidence),
        )
        self._window.add((), [event])

    def _event(self, kind: EventKind, meter_id: MeterId | None, **detail: str | int | list[str]) -> Event:
        return Event(
            event_id=f"{kind.value}-{uuid.uuid4().hex}",
            kind=kind,
            at=self._clock.now(),
            clock=self._clock.state(),
            meter_id=meter_id,
            detail={"bus": self.plan.bus.name, **detail},
        )
