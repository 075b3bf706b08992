"""What the portal may ask of a collector, carried out: read meters now, send batches again, try a configuration.

A command comes here verified, fresh and for the first time (sync/sender.py). Its body is checked before anything is
done; whatever comes of it, one COMMAND_DONE event says so in the urgent stream. Nothing is ever written to a meter.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from domain.ids import Stream
from domain.reading import EventKind
from gateway.errors import BadCommand
from gateway.trial import TRY_S_MAX, TRY_S_MIN
from sync.resends import SEQUENCE_MAX, Span

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from concurrent.futures import Future

    from sync.signing import Command

log = logging.getLogger(__name__)

METERS_MAX = 100
"""Meters in one `read-now`: at 2400 Bd a hundred hold a bus for about two minutes."""
CONFIG_CHARACTERS_MAX = 256 * 1024
RESULT_CHARACTERS = 500
OK = "ok"


class Commands:
    """Carries out commands; called from the uplink's thread, so it never waits for a bus or for the disk.

    read_now  starts reading one meter by its id: a future, or None when no bus has it.
    resend    sync.sender.Sender.resend.
    configure  starts trying a configuration: (text, nonce in hex, seconds, done); `done` gets the result unless it is
               taken: then the run that comes after reports.
    report    has an event of this kind and detail stored, without waiting.
    """

    def __init__(
        self,
        *,
        read_now: Callable[[str], Future[Any] | None],
        resend: Callable[[Span], str],
        configure: Callable[[str, str, int, Callable[[str], None]], None],
        report: Callable[[EventKind, str, Mapping[str, str | int]], None],
    ) -> None:
        self._read_now, self._resend, self._configure, self._report = read_now, resend, configure, report

    def carry_out(self, command: Command) -> None:
        """Begin what a command asks for; its result is reported once it is known."""
        kinds = {
            "read-now": self._do_read_now,
            "resend": self._do_resend,
            "configure": self._do_configure,
        }
        try:
            kinds.get(command.kind, _unknown)(command)
        except BadCommand as error:
            log.warning("the portal asked for %r: %s", command.kind, error)
            self._done(command, str(error))

    def _done(self, command: Command, result: str) -> None:
        nonce = command.nonce.hex()
        detail = {"nonce": nonce, "kind": command.kind, "result": result[:RESULT_CHARACTERS]}
        self._report(EventKind.COMMAND_DONE, f"command-done:{nonce}", detail)

    # read-now: {"meters": [meter id, ...]}. The answers are reads in the urgent stream.

    def _do_read_now(self, command: Command) -> None:
        meters = _fields(command.body, "meters")[0]
        if type(meters) is not list or not 1 <= len(meters) <= METERS_MAX:
            raise BadCommand(f"meters: expected a list of 1 to {METERS_MAX} meter ids")
        if not all(type(meter) is str and 1 <= len(meter) <= 64 for meter in meters):
            raise BadCommand("meters: expected meter ids")
        _Reading(list(dict.fromkeys(meters)), lambda result: self._done(command, result)).start(self._read_now)

    # resend: {"epoch": hex, "stream": 0 or 1, "first": n, "last": m}

    def _do_resend(self, command: Command) -> None:
        epoch, stream, first, last = _fields(command.body, "epoch", "stream", "first", "last")
        if type(epoch) is not str or len(epoch) != 32 or set(epoch) - set("0123456789abcdef"):
            raise BadCommand("epoch: expected 32 hexadecimal digits")
        if type(stream) is not int or stream not in list(Stream):
            raise BadCommand("stream: expected 0 or 1")
        if type(first) is not int or type(last) is not int or not 1 <= first <= last <= SEQUENCE_MAX:
            raise BadCommand(f"first, last: expected 1 <= first <= last <= {SEQUENCE_MAX}")
        nonce = command.nonce.hex()

        def gone(first: int, last: int) -> None:
            detail: dict[str, str | int] = {"epoch": epoch, "stream": stream, "first": first, "last": last}
            # The number of the command makes it another event when a restored portal asks once more.
            self._report(EventKind.BATCHES_GONE, f"batches-gone:{nonce}:{first}", detail)

        def done(answered: int, unanswered: int) -> None:
            total = answered + unanswered
            self._done(command, f"{unanswered} of {total} batches were not acknowledged" if unanswered else OK)

        refused = self._resend(Span(bytes.fromhex(epoch), Stream(stream), first, last, gone, done))
        if refused:
            raise BadCommand(refused)

    # configure: {"toml": text, "try_s": seconds}. See gateway/trial.py.

    def _do_configure(self, command: Command) -> None:
        text, try_s = _fields(command.body, "toml", "try_s")
        if type(text) is not str or len(text) > CONFIG_CHARACTERS_MAX:
            raise BadCommand(f"toml: expected a text of up to {CONFIG_CHARACTERS_MAX} characters")
        if type(try_s) is not int or not TRY_S_MIN <= try_s <= TRY_S_MAX:
            raise BadCommand(f"try_s: expected {TRY_S_MIN} to {TRY_S_MAX} seconds")
        self._configure(text, command.nonce.hex(), try_s, lambda result: self._done(command, result))


@dataclass(slots=True)
class _Reading:
    """Gathers the results of one `read-now`, which come from several buses' threads."""

    meters: Sequence[str]
    done: Callable[[str], None]
    waiting: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self, read_now: Callable[[str], Future[Any] | None]) -> None:
        """Ask for every meter; the last answer reports."""
        self.waiting = {*self.meters, ""}  # "" until all are asked, so that an early answer is not taken for the last
        for meter in self.meters:
            future = read_now(meter)
            if future is None:
                self._answered(meter, "no such meter here")
            else:
                future.add_done_callback(lambda future, meter=meter: self._answered(meter, _fault_of(future)))  # type: ignore[misc]
        self._answered("", "")

    def _answered(self, meter: str, fault: str) -> None:
        with self.lock:
            self.waiting.discard(meter)
            if fault:
                self.failed[meter] = fault
            if self.waiting:
                return
        self.done("; ".join(f"{meter}: {fault}" for meter, fault in self.failed.items()) or OK)


def _unknown(command: Command) -> None:
    raise BadCommand("unknown kind; this version knows read-now, resend and configure")


def _fault_of(future: Future[Any]) -> str:
    if future.cancelled():
        return "cancelled"
    error = future.exception()
    return "" if error is None else str(error) or type(error).__name__


def _fields(body: Mapping[str, Any], *names: str) -> list[Any]:
    """Return the values of exactly these fields."""
    if set(body) != set(names):
        raise BadCommand(f"expected {', '.join(names)} and nothing else")
    return [body[name] for name in names]
