"""Running the collector, anew with each configuration that the portal sends; what is on disk says gateway/trial.py."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from domain.errors import ConfigError, HeadwaterError
from domain.reading import Event, EventKind
from gateway import config
from gateway.commands import OK, RESULT_CHARACTERS
from gateway.trial import Trials

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gateway.commit import CommitWindow
    from gateway.sending import Sending
    from gateway.service import Service
    from gateway.timekeeping import CollectorClock
    from gateway.trial import Trial

log = logging.getLogger(__name__)


class TrialWatch:
    """Begins a trial when the portal asks for one; in the run that follows keeps or puts back what is tried.

    begin_anew  ends this run and lets another begin.
    """

    def __init__(
        self,
        trials: Trials | None,
        sending: Sending | None,
        *,
        window: CommitWindow,
        clock: CollectorClock,
        begin_anew: Callable[[], None],
    ) -> None:
        self._trials, self._sending, self._window, self._clock = trials, sending, window, clock
        self._begin_anew = begin_anew
        self._trial: Trial | None = None
        self._began_real_s = 0.0

    def propose(self, text: str, nonce: str, try_s: int, done: Callable[[str], None]) -> None:
        """Begin to try a configuration, in a thread of its own: it writes files. `done` gets a result known at once."""

        def work() -> None:
            try:
                if self._trials is None:
                    raise ConfigError("this collector runs without a configuration file")
                changed = self._trials.begin(text, nonce=nonce, try_s=try_s)
            except HeadwaterError as error:
                done(str(error))
                return
            if not changed:
                done(OK)
                return
            log.warning("a new configuration from the portal is tried for %d s", try_s)
            self._begin_anew()

        threading.Thread(target=work, name="control-configure", daemon=True).start()

    def take_up(self) -> None:
        """Go on with the trial that this run is for, or report the one that is over."""
        self._trial = self._trials.current() if self._trials else None
        self._began_real_s = time.monotonic()
        if self._trial is None:
            return
        if self._sending is not None:
            self._sending.hurry()
        if self._trial.put_back:
            self._end(self._trial, self._trial.put_back)

    def watch(self) -> None:
        """Keep the configuration once the portal acknowledged something; put it back when its time is up."""
        trial = self._trial
        if trial is None or self._trials is None:
            return
        if self._sending is not None and self._sending.acknowledged:
            log.warning("the new configuration is kept: the portal was reached with it")
            self._end(trial, OK)
        elif time.monotonic() - self._began_real_s > trial.try_s:
            try:
                self._trials.put_back(f"the portal was not reached within {trial.try_s} s")
            except OSError as error:
                log.error("the old configuration cannot be put back yet: %s", error)  # noqa: TRY400
                return
            self._trial = None
            self._begin_anew()

    def _end(self, trial: Trial, result: str) -> None:
        """Report a trial, and forget it once the report is durable: a kill before that reports it again, once."""
        self._trial = None
        now, state = self._clock.now(), self._clock.state()
        kinds = [EventKind.COMMAND_DONE] if result == OK else [EventKind.COMMAND_DONE, EventKind.CONFIG_REFUSED]
        detail = {"nonce": trial.nonce, "kind": "configure", "result": result[:RESULT_CHARACTERS]}
        events = [Event(f"{kind.value}:{trial.nonce}", kind, now, state, None, detail) for kind in kinds]

        def work() -> None:
            assert self._trials is not None
            self._window.add((), events)
            self._window.flush()
            self._trials.done()

        threading.Thread(target=work, name="control-trial", daemon=True).start()


def run_collector(path: Path) -> int:
    """Run the collector until it is told to stop, anew with each configuration that the portal sends; its exit code."""
    service = _make_service(path)
    while True:
        code = service.run()
        if code or not service.begins_anew:
            return code
        before, service = service, _make_service(path)
        if before.signalled:
            service.ask_to_stop()


def _make_service(path: Path) -> Service:
    """Return the service; a configuration on trial that does not even start is put back."""
    from gateway.service import Service

    trials = Trials(path)
    try:
        trials.at_start()
    except OSError as error:  # a full disk, say: reading meters goes on, the trial is taken up at another start
        log.error("the trial of a configuration cannot be written down: %s", error)  # noqa: TRY400
    trial = trials.current()
    try:
        return Service(config.load(path), trials)
    except HeadwaterError as error:
        if trial is None or trial.put_back:
            raise
        trials.put_back(f"it does not start: {error}")
    return Service(config.load(path), trials)
