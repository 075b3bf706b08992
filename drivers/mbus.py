"""Wired M-Bus (EN 13757-2 and -3): the driver. Decoding is in mbus_telegram, exchanges are in mbus_bus.

Addresses: "1" to "250" is a primary address, "s:04990254" a secondary one (8 digits, F for any digit; then, if given,
4 hex digits of manufacturer word, 2 of version, 2 of medium). Reading is all it does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from domain.errors import ConfigError
from domain.ids import MeterId
from drivers.base import Deadline, MeterReply, ScanResult, last_byte_state
from drivers.errors import BadFrame, MeterError, NoReply
from drivers.mbus_bus import ADAPTER_S, ANSWER_CHARS, ANSWER_S, UNSEEN_CHAR_TIME_S, BusMaster
from drivers.mbus_frame import ADDRESS_ANY, ADDRESS_LAST, ADDRESS_SELECTED, FCB, REQ_UD2, short_frame
from drivers.mbus_reads import register_reads, total_of
from drivers.mbus_telegram import Header, Telegram, decode_telegram

if TYPE_CHECKING:
    from collections.abc import Iterator

    from domain.clock import Clock
    from drivers.base import Link, MeterTarget

MOST_TELEGRAMS = 16
# What scanning adds to the standard's answer time for adapters: 250 silent addresses are waited for.
SCAN_ADAPTER_S = 0.05
_TYPICAL_REPLY_CHARS, _TYPICAL_ANSWER_S = 90, 0.03
_SELECT_CHARS = 17
_SECONDARY = re.compile(r"s:([0-9A-Fa-f]{8})(?:([0-9A-Fa-f]{4})([0-9A-Fa-f]{2})([0-9A-Fa-f]{2}))?")
_SELF_STATED_ID = re.compile(r"([A-Z]{3})-([0-9A-F]{8})")


@dataclass(frozen=True, slots=True)
class Address:
    """Where a meter is: its primary address, or 253 and the 8 bytes that select it."""

    primary: int
    selection: bytes | None = None


def parse_address(text: str) -> Address:
    """Return the address that a configuration names. raises ConfigError naming the forms."""
    if text.isdecimal() and (0 <= int(text) <= ADDRESS_LAST or int(text) == ADDRESS_ANY):
        return Address(int(text))
    if matched := _SECONDARY.fullmatch(text):
        identification, maker, version, medium = matched.groups(default="")
        selection = bytes.fromhex(identification)[::-1] + bytes.fromhex(maker or "FFFF")[::-1]
        return Address(ADDRESS_SELECTED, selection + bytes.fromhex((version or "FF") + (medium or "FF")))
    raise ConfigError(f"address = {text!r}   expected an M-Bus address: 0 to 250, or s: and 8 digits (F for any)")


class MBusDriver:
    """Reads M-Bus meters. Holds no state; the frame count bit lives inside one read."""

    name = "mbus"

    def read(self, target: MeterTarget, link: Link, *, deadline: Deadline, clock: Clock) -> MeterReply:
        """Ask one meter; further telegrams are asked for only while its total has not come.

        raises  NoReply, BadReply (BadFrame, BadChecksum, ApplicationError), LinkDown, ConfigError (the address).
        """
        try:
            telegrams, reply = self.telegrams(target, link, deadline=deadline, until_total=True)
        except MeterError as error:
            error.meter_id = error.meter_id or target.meter_id
            raise
        read_at, clock_state = last_byte_state(link)
        header = telegrams[0].header
        meter_id, unexpected = _who_answered(target, telegrams[0])
        reads, complaints = register_reads(
            meter_id,
            header,
            [record for telegram in telegrams for record in telegram.records],
            read_at=read_at,
            clock=clock_state,
            unexpected=unexpected,
        )
        return MeterReply(
            meter_id=meter_id,
            unexpected=unexpected,
            reads=reads,
            alarms=(*header.alarms, *complaints),
            identity=header.identification,
            reply=reply,
        )

    def telegrams(
        self, target: MeterTarget, link: Link, *, deadline: Deadline, until_total: bool = False
    ) -> tuple[list[Telegram], bytes]:
        """Return all telegrams of one meter and their bytes; with `until_total` no more than the total needs."""
        address = parse_address(target.address)
        master = BusMaster(link, deadline)
        # SND_NKE makes the first question a new one: a meter that saw the same frame count bit last time would
        # repeat its old answer. One that does not acknowledge is asked all the same.
        master.reset(address.primary)
        if address.selection is not None and not master.select(address.selection):
            raise NoReply(f"no meter acknowledged the selection {target.address}")
        telegrams: list[Telegram] = []
        frames = b""
        control = REQ_UD2 | FCB
        while len(telegrams) < MOST_TELEGRAMS:
            frame = master.request(short_frame(control, address.primary))
            telegrams.append(decode_telegram(frame))
            frames += frame
            if not telegrams[-1].more_follow or (until_total and total_of(telegrams[-1].records)):
                return telegrams, frames
            control ^= FCB
        raise BadFrame(f"the meter announces more than {MOST_TELEGRAMS} telegrams", reply=frames)

    def scan(
        self, link: Link, *, clock: Clock, first: int = 1, last: int | None = None, secondary: bool = False
    ) -> Iterator[ScanResult]:
        """Try every primary address, or search by secondary address; one result each, found or not."""
        if secondary:
            from drivers.mbus_search import search

            yield from search(link, clock=clock)
            return
        addresses = range(first, (last or ADDRESS_LAST) + 1)
        for step, address in enumerate(addresses, 1):
            yield self._try_address(link, clock, address, step, len(addresses))

    def _try_address(self, link: Link, clock: Clock, address: int, step: int, steps: int) -> ScanResult:
        char_time_s = link.char_time_s or UNSEEN_CHAR_TIME_S
        master = BusMaster(link, Deadline(clock, 2 * _slowest_s(char_time_s)), adapter_s=SCAN_ADAPTER_S)
        text = str(address)
        if not master.reset(address):
            return ScanResult(text, found=False, step=step, steps=steps)
        try:
            telegram = decode_telegram(master.request(short_frame(REQ_UD2 | FCB, address)))
        except MeterError as error:
            return ScanResult(text, found=True, step=step, steps=steps, detail=f"answers, but: {error}")
        return found_meter(text, telegram.header, step, steps)

    def exchange_time_s(self, target: MeterTarget, *, char_time_s: float) -> float:
        """Return the usual seconds of one read: SND_NKE, perhaps a selection, REQ_UD2 and a reply of 90 bytes."""
        exchanges, chars = 2, 5 + 1 + 5 + _TYPICAL_REPLY_CHARS
        if parse_address(target.address).selection is not None:
            exchanges, chars = 3, chars + _SELECT_CHARS + 1
        return chars * (char_time_s or UNSEEN_CHAR_TIME_S) + exchanges * _TYPICAL_ANSWER_S

    def timeout_s(self, target: MeterTarget, *, char_time_s: float) -> float:
        """Return the seconds of the slowest read that still is one: all answers late, the longest frame, twice."""
        return 2 * _slowest_s(char_time_s or UNSEEN_CHAR_TIME_S)


def found_meter(address: str, header: Header, step: int, steps: int | None) -> ScanResult:
    """Return the scan result of a meter that said who it is."""
    return ScanResult(
        address,
        found=True,
        step=step,
        steps=steps,
        meter_id=meter_id_of(header),
        identity=header.identification,
        detail=", ".join(filter(None, (header.medium, f"version {header.version}" if header.version else ""))),
    )


def meter_id_of(header: Header) -> MeterId:
    """Return the identity a header states as a meter id: MMM-nnnnnnnn, the digits alone without a manufacturer."""
    text = "-".join(filter(None, (header.manufacturer, header.identification))) or "unknown"
    return MeterId(re.sub(r"[^A-Za-z0-9-]", "0", text))


def _slowest_s(char_time_s: float) -> float:
    """Seconds of SND_NKE, selection and REQ_UD2, each answered at the last moment, with the longest reply."""
    return 3 * (ANSWER_CHARS * char_time_s + ANSWER_S + ADAPTER_S) + (261 + 40) * 1.2 * char_time_s


def _who_answered(target: MeterTarget, telegram: Telegram) -> tuple[MeterId, bool]:
    """Return the id of the meter that answered and whether it is another than expected.

    Expected is the target's identity (8 digits), else the one in a meter id of the form MMM-nnnnnnnn. Where neither is
    known the address in the reply decides.
    """
    header = telegram.header
    stated = header.identification
    self_stated = _SELF_STATED_ID.fullmatch(target.meter_id)
    if stated is not None and target.identity:
        same = stated == target.identity.upper().rjust(8, "0")
    elif stated is not None and self_stated:
        same = self_stated[2] == stated and header.manufacturer in (None, self_stated[1])
    else:
        primary = parse_address(target.address).primary
        same = telegram.address == primary or primary > ADDRESS_LAST
    return (target.meter_id, False) if same else (meter_id_of(header), True)
