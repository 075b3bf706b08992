"""Search for M-Bus meters by secondary address: wildcards narrowed digit by digit until one meter answers alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drivers.base import Deadline, ScanResult
from drivers.errors import BadReply, NoReply
from drivers.mbus import SCAN_ADAPTER_S, found_meter
from drivers.mbus_bus import UNSEEN_CHAR_TIME_S, BusMaster, FrameReader
from drivers.mbus_frame import ADDRESS_SELECTED, FCB, REQ_UD2, long_frame, short_frame
from drivers.mbus_telegram import decode_telegram

if TYPE_CHECKING:
    from collections.abc import Iterator

    from domain.clock import Clock
    from drivers.base import Link

_DIGITS = 8
_SELECTION_S = 5.0
# How long a second meter's frame may lag behind the first one's and still be one collision.
_STRAGGLER_CHARS = 6


def search(link: Link, *, clock: Clock) -> Iterator[ScanResult]:
    """Yield one result for every wildcard that is tried; a stack of prefixes, so that a caller can stop at any time."""
    prefixes = [""]
    step = 0
    while prefixes:
        prefix = prefixes.pop()
        step += 1
        result, several = _try(link, clock, prefix, step)
        if several and len(prefix) < _DIGITS:
            prefixes.extend(f"{prefix}{digit}" for digit in "9876543210")
        yield result


def _try(link: Link, clock: Clock, prefix: str, step: int) -> tuple[ScanResult, bool]:
    """Return what answers to a wildcard, and whether several meters do."""
    mask = prefix.ljust(_DIGITS, "F")
    address = f"s:{mask}"
    char_time_s = link.char_time_s or UNSEEN_CHAR_TIME_S
    master = BusMaster(link, Deadline(clock, _SELECTION_S + 600 * char_time_s), adapter_s=SCAN_ADAPTER_S)
    nobody = ScanResult(address, found=False, step=step, steps=None)
    acknowledged, noise = _select(master, bytes.fromhex(mask)[::-1] + b"\xff\xff\xff\xff")
    if not acknowledged:
        return nobody, noise
    try:
        frame = master.request(short_frame(REQ_UD2 | FCB, ADDRESS_SELECTED))
        straggler = link.receive(1, master.deadline.within(_STRAGGLER_CHARS * char_time_s + SCAN_ADAPTER_S))
        header = decode_telegram(frame).header
    except NoReply as error:
        return nobody, bool(error.seen)
    except BadReply as error:
        if len(prefix) < _DIGITS:
            return nobody, True
        return ScanResult(address, found=True, step=step, steps=None, detail=f"answers, but: {error}"), False
    if straggler:
        return nobody, True
    return found_meter(f"s:{header.identification}", header, step, None), False


def _select(master: BusMaster, selection: bytes) -> tuple[bool, bool]:
    """Return whether a selection was acknowledged, and whether only garbage (a collision) came back."""
    reader = FrameReader(ack=True)
    acknowledged = master.exchange(long_frame(0x53, ADDRESS_SELECTED, 0x52, selection), reader) is not None
    return acknowledged, not acknowledged and bool(reader.seen)
