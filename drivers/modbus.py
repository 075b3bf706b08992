"""Modbus RTU and TCP: the driver. A meter model is a register map (modbus_map); exchanges are in modbus_frame.

Addresses: the unit, "1" to "247" (TCP also "0" and "255"). Reading is all it does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING

from domain.errors import ConfigError
from domain.ids import MeterId, RegisterId
from domain.reading import ReadFlag, ReadQuality, Reason, Register, RegisterRead
from domain.units import Unit
from drivers.base import Deadline, MeterReply, ScanResult, last_byte_state
from drivers.errors import ApplicationError, BadReply, MeterError, NoReply
from drivers.modbus_frame import FIXED_SILENCE_S, ModbusMaster
from drivers.modbus_map import TOTALS, MapRegister, RegisterMap, Span, load_map, load_model, model_names, plan_spans
from drivers.modbus_value import AS_ON_THE_WIRE, BYTE_ORDERS, TYPE_BYTES, counts_of, decode_value, split_counts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from domain.clock import Clock, ClockState
    from drivers.base import Link, MeterTarget

LAST_UNIT = 247
SCAN_ANSWER_S = 0.2
# How long the exchange that only wakes a meter is waited for.
WAKE_UP_S = 0.2
_TYPICAL_ANSWER_S = 0.05
_REQUEST_BYTES, _REPLY_BYTES = 8, 5
NO_VALID_TOTAL = "no_valid_total"


class ModbusDriver:
    """Reads Modbus meters by their maps: RTU on a serial link, MBAP on a TCP link."""

    name = "modbus"
    framing: str | None = None

    def read(self, target: MeterTarget, link: Link, *, deadline: Deadline, clock: Clock) -> MeterReply:
        """Ask one meter for everything its map polls, in the fewest requests.

        raises  NoReply, BadReply (BadFrame, BadChecksum, ApplicationError), LinkDown, ConfigError (address, model).
        """
        poll = poll_of(target)
        try:
            master = self._master(link, poll.map, deadline, clock)
            if poll.map.wake_up:
                _throw_away_first(master, poll)
            words, stamps = _read_words(master, poll)
            return _reply(target, poll, words, stamps, master.frames)
        except MeterError as error:
            error.meter_id = error.meter_id or target.meter_id
            raise

    def scan(self, link: Link, *, clock: Clock, first: int = 1, last: int | None = None) -> Iterator[ScanResult]:
        """Try every unit address: any answer, even an exception, is a meter."""
        units = range(first, (last or LAST_UNIT) + 1)
        for step, unit in enumerate(units, 1):
            deadline = Deadline(clock, 10.0)
            master = ModbusMaster(link, rtu=self._is_rtu(link), deadline=deadline, clock=clock, answer_s=SCAN_ANSWER_S)
            found, detail = _knock(master, unit)
            model = _recognise(master, unit) if found else None
            yield ScanResult(str(unit), found=found, step=step, steps=len(units), model=model, detail=detail)

    def exchange_time_s(self, target: MeterTarget, *, char_time_s: float) -> float:
        """Return the usual seconds of one read: every request, its reply and the silences around them."""
        poll = poll_of(target)
        register_map = poll.map
        silence_s = max(FIXED_SILENCE_S, register_map.silence_chars * char_time_s) if char_time_s else 0.0
        requests_s = sum(
            (_REQUEST_BYTES + _REPLY_BYTES + 2 * span.count) * char_time_s + 2 * silence_s + _TYPICAL_ANSWER_S
            for span in poll.spans
        )
        return requests_s + register_map.wake_up * (_REQUEST_BYTES * char_time_s + WAKE_UP_S)

    def timeout_s(self, target: MeterTarget, *, char_time_s: float) -> float:
        """Return the seconds of the slowest read that still is one: every answer at the last moment."""
        poll = poll_of(target)
        requests = len(poll.spans) + poll.map.wake_up
        return self.exchange_time_s(target, char_time_s=char_time_s) * 1.2 + requests * (poll.map.answer_s + 0.1)

    def _is_rtu(self, link: Link) -> bool:
        return (self.framing or ("rtu" if link.kind == "serial" else "tcp")) == "rtu"

    def _master(self, link: Link, register_map: RegisterMap, deadline: Deadline, clock: Clock) -> ModbusMaster:
        return ModbusMaster(
            link,
            rtu=self._is_rtu(link),
            deadline=deadline,
            clock=clock,
            answer_s=register_map.answer_s,
            silence_chars=register_map.silence_chars,
        )


class ModbusRtuDriver(ModbusDriver):
    """RTU framing on any link: also through a serial device server that passes bytes as they are."""

    name = "modbus-rtu"
    framing = "rtu"


class ModbusTcpDriver(ModbusDriver):
    """MBAP framing on any link."""

    name = "modbus-tcp"
    framing = "tcp"


def parse_unit(text: str) -> int:
    """Return the unit that an address names. raises ConfigError."""
    if text.isdecimal() and (int(text) <= LAST_UNIT or int(text) == 255):
        return int(text)
    raise ConfigError(f"address = {text!r}   expected a Modbus unit, 1 to {LAST_UNIT}")


def map_of(target: MeterTarget) -> RegisterMap:
    """Return the register map of a target. raises ConfigError when it names none, or one without a total."""
    if target.model is None:
        raise ConfigError(f"meter {target.meter_id}: model is missing   expected one of {', '.join(model_names())}")
    register_map = load_map(target.model)
    if not register_map.of_role("total"):
        raise ConfigError(f"meter {target.meter_id}: the map {register_map.name} has no total; it can only be decoded")
    return register_map


@dataclass(frozen=True, slots=True)
class Poll:
    """What reading one target takes, worked out once: its unit, the spans to ask for, and its map's registers by role.

    spans  as the map has their addresses, not as the wire has.
    """

    unit: int
    map: RegisterMap
    spans: tuple[Span, ...]
    signatures: tuple[MapRegister, ...]
    serials: tuple[MapRegister, ...]
    alarms: tuple[MapRegister, ...]
    totals: tuple[Total, ...]


@dataclass(frozen=True, slots=True)
class Total:
    """A total of a poll; `counts` where its registers as they are on the wire are the count, of which one is worth."""

    register_id: RegisterId
    map: MapRegister
    counts: Register | None


@lru_cache(maxsize=4096)
def poll_of(target: MeterTarget) -> Poll:
    """Return what reading a target takes. raises ConfigError (model, address)."""
    found = map_of(target)
    return Poll(
        unit=parse_unit(target.address),
        map=found,
        spans=plan_spans(found),
        signatures=found.of_role("signature"),
        serials=found.of_role("serial"),
        alarms=found.of_role("alarms"),
        totals=tuple(
            Total(RegisterId(role), total, _plain_register(target, RegisterId(role), total))
            for role in TOTALS
            for total in found.of_role(role)
        ),
    )


def _plain_register(target: MeterTarget, register_id: RegisterId, total: MapRegister) -> Register | None:
    """Return what a total counts, where that needs nothing but the map: an unsigned integer, high word first."""
    if total.type[0] != "u" or BYTE_ORDERS[TYPE_BYTES[total.type]][total.byte_order] not in AS_ON_THE_WIRE:
        return None
    if total.fraction is not None or total.unit_from is not None:
        return None
    scale = total.scale if target.scale is None else target.scale
    return _register(target.meter_id, register_id, target.unit or Unit(total.unit), scale, total.modulus)


@lru_cache(maxsize=8192)
def _register(meter_id: MeterId, register_id: RegisterId, unit: Unit, scale: int, modulus: int | None) -> Register:
    """Return a register, checked once: the same object for each of its reads, by which the store knows it again."""
    return Register(meter_id, register_id, unit, scale, modulus)


def _read_words(master: ModbusMaster, poll: Poll) -> tuple[dict[int, int], dict[int, tuple[datetime, ClockState]]]:
    """Return the words at every address that a poll reads, by the map's own addresses, and when each one came."""
    words: dict[int, int] = {}
    stamps: dict[int, tuple[datetime, ClockState]] = {}
    base, function = poll.map.address_base, poll.map.function
    for span in poll.spans:
        address, count = span.address, span.count
        values = master.read_registers(poll.unit, function, address - base, count)
        words.update(enumerate(values, address))
        stamps.update(dict.fromkeys(range(address, address + count), last_byte_state(master.link)))
    return words, stamps


def _throw_away_first(master: ModbusMaster, poll: Poll) -> None:
    """Wake the meter with an exchange whose outcome does not count."""
    first = poll.spans[0]
    answer_s, master.answer_s = master.answer_s, WAKE_UP_S
    try:
        master.read_registers(poll.unit, poll.map.function, first.address - poll.map.address_base, 1)
    except (NoReply, BadReply):
        return
    finally:
        master.answer_s = answer_s


def _reply(
    target: MeterTarget,
    poll: Poll,
    words: Mapping[int, int],
    stamps: Mapping[int, tuple[datetime, ClockState]],
    frames: bytes,
) -> MeterReply:
    if poll.signatures:
        _check_signature(poll, words, frames)
    identity = _serial(poll, words) if poll.serials else None
    unexpected, meter_id = False, target.meter_id
    quality, reason = ReadQuality.MEASURED, Reason.NONE
    if target.identity and identity and identity != target.identity:
        unexpected, meter_id = True, MeterId(_as_meter_id(identity))
        quality, reason = ReadQuality.SUSPECT, Reason.UNEXPECTED_METER
    alarms = alarms_of(poll.alarms, words) if poll.alarms else ()
    flags = ReadFlag.METER_ALARM if alarms else ReadFlag.NONE
    reads = []
    for total in poll.totals:
        address, register = total.map.address, total.counts
        if register is not None and not unexpected:
            count = words[address]
            for at in range(address + 1, total.map.end):
                count = count << 16 | words[at]
            counted = None if register.modulus is not None and count >= register.modulus else (count, register)
        else:
            counted = _counted(target, poll, total, words, meter_id)
        if counted is None:
            alarms = (*alarms, NO_VALID_TOTAL)
            continue
        read_at, clock_state = stamps[address]
        reads.append(RegisterRead(counted[1], counted[0], read_at, clock_state, quality, reason, flags))
    return MeterReply(meter_id, unexpected, tuple(reads), alarms, identity, frames)


def _counted(
    target: MeterTarget, poll: Poll, total: Total, words: Mapping[int, int], meter_id: MeterId
) -> tuple[int, Register] | None:
    """Return a total's count and its register, under the identity that answered; None where there is no valid value."""
    counted = count_total(poll.map, total.map, words, unit=target.unit, scale=target.scale)
    if counted is None:
        return None
    count, unit, scale, modulus = counted
    return count, _register(meter_id, total.register_id, unit, scale, modulus)


def value_of(register: MapRegister, words: Mapping[int, int]) -> int | Decimal | str | None:
    """Return the value of a register whose words were read, before its scale."""
    return decode_value([words[at] for at in range(register.address, register.end)], register.type, register.byte_order)


def count_total(
    register_map: RegisterMap,
    total: MapRegister,
    words: Mapping[int, int],
    *,
    unit: Unit | None = None,
    scale: int | None = None,
) -> tuple[int, Unit, int, int | None] | None:
    """Return a total as (count, unit, scale, modulus); None where the meter has no valid value.

    unit, scale  what commissioning says of a meter whose total the map cannot know; None: as the map says.
    raises       BadReply when the meter states a unit that the map does not know.
    """
    value = value_of(total, words)
    unit = unit or _stated_unit(register_map, total, words)
    if value is None or isinstance(value, str):
        return None
    if total.fraction is not None:
        worth = total.resolution if scale is None else scale
        part = value_of(register_map.register(total.fraction), words)
        if not isinstance(part, int) or isinstance(value, Decimal) or worth is None:
            return None
        return split_counts(value, part, fraction_per_unit=total.fraction_per_unit, scale=worth), unit, worth, None
    if isinstance(value, Decimal):
        worth = total.resolution if scale is None else scale
        return None if worth is None else (counts_of(value.scaleb(total.scale), worth), unit, worth, total.modulus)
    if total.modulus is not None and not 0 <= value < total.modulus:
        return None
    return value, unit, total.scale if scale is None else scale, total.modulus


def _stated_unit(register_map: RegisterMap, total: MapRegister, words: Mapping[int, int]) -> Unit:
    if total.unit_from is None:
        return Unit(total.unit)
    code = value_of(register_map.register(total.unit_from), words)
    units = total.unit_codes or {}
    if not isinstance(code, int) or code not in units:
        raise BadReply(
            f"the meter counts in unit code {code}, which {register_map.name} does not know; set `unit` and `scale` "
            "in the meter's commissioning record"
        )
    return units[code]


def alarms_of(registers: Iterable[MapRegister], words: Mapping[int, int]) -> tuple[str, ...]:
    """Return the names of the alarm bits that are set; a set bit without a name is named by its number."""
    names = []
    for register in registers:
        value = value_of(register, words)
        if not isinstance(value, int):
            continue
        known = register.bits or {}
        names += [known.get(bit, f"{register.name}_bit_{bit}") for bit in range(64) if value >> bit & 1]
    return tuple(names)


def _check_signature(poll: Poll, words: Mapping[int, int], frames: bytes) -> None:
    for register in poll.signatures:
        held = value_of(register, words)
        if held != register.expect:
            raise BadReply(
                f"register {register.address} holds {held}, a {poll.map.name} has {register.expect} there; "
                "check the meter's address and model",
                reply=frames,
            )


def _serial(poll: Poll, words: Mapping[int, int]) -> str | None:
    for register in poll.serials:
        return str(value_of(register, words)) or None
    return None


def _as_meter_id(identity: str) -> str:
    """Return a stated serial as the text of a meter id: other characters become '-'."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", identity).lstrip("._-")[:40] or "unknown"


def _knock(master: ModbusMaster, unit: int) -> tuple[bool, str]:
    """Return whether anything answers at a unit, and how; RTU meters are asked twice, the first may wake one."""
    for _ in range(2 if master.rtu else 1):
        try:
            master.read_registers(unit, 3, 0, 1)
        except ApplicationError as error:
            # Exceptions 10 and 11 come from a TCP gateway whose line is silent.
            return error.code not in (10, 11), error.name
        except NoReply:
            continue
        except BadReply as error:
            return True, f"answers, but: {error}"
        return True, "holding registers"
    return False, ""


def _recognise(master: ModbusMaster, unit: int) -> str | None:
    """Return the model whose signature register holds what it must."""
    for name in model_names():
        register_map = load_model(name)
        signatures: Sequence[MapRegister] = register_map.of_role("signature")
        for signature in signatures:
            address = signature.address - register_map.address_base
            try:
                words = master.read_registers(unit, register_map.function, address, signature.count)
            except (NoReply, BadReply):
                continue
            if value_of(signature, dict(enumerate(words, signature.address))) == signature.expect:
                return name
    return None
