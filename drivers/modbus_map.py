"""Register maps: what a Modbus meter model holds where, as data (drivers/models/*.toml, or a file of one's own).

A map's faults are all reported together, unknown keys among them. The keys are the fields of RegisterMap and
MapRegister below; docs/drivers/modbus.md explains them.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from domain.errors import ConfigError
from domain.units import Unit
from drivers.modbus_value import BYTE_ORDERS, TYPE_BYTES, registers_of

ROLES = ("total", "reverse_total", "alarms", "serial", "signature", "flow", "temperature", "battery", "status", "part")
TOTALS = ("total", "reverse_total")
MOST_REGISTERS = 125


@dataclass(frozen=True, slots=True)
class MapRegister:
    """One value of a meter.

    address     of its first register, as in the meter's document; the map's `address_base` is subtracted on the wire.
    scale       the number is in 10**scale of `unit`.
    resolution  power of ten: what one count of a float or split total is worth, in `unit`. None for an integer total.
    fraction    name of the register with the parts of a unit, `fraction_per_unit` of which make one unit.
    unit_from, unit_codes  name of the register with the total's unit, and which of its codes means which unit.
    bits        names of alarm bits. expect: what a signature register holds.
    """

    name: str
    address: int
    count: int
    type: str
    byte_order: str
    role: str | None = None
    unit: str | None = None
    scale: int = 0
    modulus: int | None = None
    resolution: int | None = None
    fraction: str | None = None
    fraction_per_unit: int = 1
    unit_from: str | None = None
    unit_codes: Mapping[int, Unit] | None = None
    bits: Mapping[int, str] | None = None
    expect: int | None = None
    note: str | None = None

    @property
    def end(self) -> int:
        """The address after its last register."""
        return self.address + self.count


@dataclass(frozen=True, slots=True)
class RegisterMap:
    """What one meter model holds where.

    function       the function code that reads it: 3 (holding) or 4 (input registers).
    address_base   0 when the addresses are those on the wire, 1 when the document counts from 1.
    max_registers  how many the meter gives in one reply. max_gap  how many unneeded but listed ones may be read over.
    wake_up        whether the first exchange after a pause is thrown away.
    answer_s       how long the meter may take before it answers.
    """

    name: str
    maker: str
    meter: str
    source: str
    confidence: str
    registers: tuple[MapRegister, ...]
    function: int = 3
    address_base: int = 0
    max_registers: int = MOST_REGISTERS
    max_gap: int = 0
    wake_up: bool = False
    answer_s: float = 1.0
    silence_chars: float = 3.5
    note: str | None = None

    def register(self, name: str) -> MapRegister:
        """Return the register of that name. raises KeyError."""
        return next(register for register in self.registers if register.name == name)

    def of_role(self, role: str) -> tuple[MapRegister, ...]:
        """Return the registers of a role, in order of the file."""
        return tuple(register for register in self.registers if register.role == role)

    def polled(self) -> tuple[tuple[MapRegister, ...], ...]:
        """Return what a read needs, as groups whose registers have to come in one reply (a split total tears else)."""
        groups: list[tuple[MapRegister, ...]] = []
        for register in self.registers:
            if register.role in TOTALS:
                fraction = (self.register(register.fraction),) if register.fraction else ()
                groups.append((register, *fraction))
                if register.unit_from:
                    groups.append((self.register(register.unit_from),))
            elif register.role in ("alarms", "serial", "signature"):
                groups.append((register,))
        return tuple(groups)


@dataclass(frozen=True, slots=True)
class Span:
    """Consecutive registers that one request reads."""

    address: int
    count: int


def plan_spans(register_map: RegisterMap) -> tuple[Span, ...]:
    """Return the fewest requests that read everything a poll needs, in order of address."""
    needed = sorted((min(r.address for r in group), max(r.end for r in group)) for group in register_map.polled())
    listed = {at for register in register_map.registers for at in range(register.address, register.end)}
    spans: list[list[int]] = []
    for start, end in needed:
        gap = range(spans[-1][1], start) if spans else range(0)
        # A meter answers for registers that its document lists; one that it does not list may be refused.
        if spans and len(gap) <= register_map.max_gap and listed.issuperset(gap):
            joined = max(end, spans[-1][1])
            if joined - spans[-1][0] <= register_map.max_registers:
                spans[-1][1] = joined
                continue
        spans.append([start, end])
    return tuple(Span(start, end - start) for start, end in spans)


def model_names() -> tuple[str, ...]:
    """Return the names of the maps that come with Headwater."""
    folder = resources.files("drivers") / "models"
    return tuple(sorted(entry.name[: -len(".toml")] for entry in folder.iterdir() if entry.name.endswith(".toml")))


@cache
def load_model(name: str) -> RegisterMap:
    """Return a map that comes with Headwater. raises ConfigError when there is none of that name."""
    if name not in model_names():
        near = difflib.get_close_matches(name, model_names(), 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ConfigError(f"model = {name!r}   expected one of {', '.join(model_names())}{hint}")
    return parse_map((resources.files("drivers") / "models" / f"{name}.toml").read_text("utf-8"), name)


def load_map(name_or_file: str) -> RegisterMap:
    """Return the map in a file (a path that ends with .toml) or the one of a model. raises ConfigError."""
    if not name_or_file.endswith(".toml"):
        return load_model(name_or_file)
    path = Path(name_or_file)
    try:
        return parse_map(path.read_text("utf-8"), path.stem)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{name_or_file}   cannot be read: {error}") from error


def parse_map(text: str, name: str) -> RegisterMap:
    """Return the map that a TOML text describes. raises ConfigError with every fault in it."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{name}: not TOML: {error}") from error
    return _MapReader(name).read(table)


class _MapReader:
    """Turns a TOML table into a map and collects what is wrong with it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.faults: list[str] = []

    def read(self, table: dict[str, Any]) -> RegisterMap:
        entries = table.pop("register", [])
        top = {
            "name": self.name,
            "maker": self._take(table, "maker", str),
            "meter": self._take(table, "meter", str),
            "source": self._take(table, "source", str),
            "confidence": self._take(table, "confidence", str),
            "function": self._take(table, "function", int, 3, allowed=(3, 4)),
            "address_base": self._take(table, "address_base", int, 0, allowed=(0, 1)),
            "max_registers": self._take(table, "max_registers", int, MOST_REGISTERS, allowed=range(1, 126)),
            "max_gap": self._take(table, "max_gap", int, 0, allowed=range(125)),
            "wake_up": self._take(table, "wake_up", bool, False),
            "answer_s": float(self._take(table, "answer_s", (int, float), 1.0)),
            "silence_chars": float(self._take(table, "silence_chars", (int, float), 3.5)),
            "note": self._take(table, "note", str, None),
        }
        self._unknown(table, "", [*top, "register"])
        if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
            self.faults.append(f"{self.name}: register   expected at least one [[register]]")
            entries = []
        registers = [self._register(entry, f"register[{index}].") for index, entry in enumerate(entries)]
        self._cross_check(registers, top)
        if self.faults:
            raise ConfigError(self.faults)
        return RegisterMap(registers=tuple(registers), **top)

    def _register(self, entry: dict[str, Any], at: str) -> MapRegister:
        kind = self._take(entry, "type", str, at=at, allowed=TYPE_BYTES) or "u16"
        kind = kind if kind in TYPE_BYTES else "u16"
        width = TYPE_BYTES[kind]
        default_order = {0: "AB", 2: "AB", 4: "ABCD", 8: "ABCDEFGH"}[width]
        fields: dict[str, Any] = {
            "name": self._take(entry, "name", str, at=at),
            "address": self._take(entry, "address", int, at=at, allowed=range(65537)),
            "count": self._take(entry, "count", int, registers_of(kind) or None, at=at),
            "type": kind,
            "byte_order": self._take(entry, "byte_order", str, default_order, at=at, allowed=BYTE_ORDERS[width]),
            "role": self._take(entry, "role", str, None, at=at, allowed=ROLES),
            "unit": self._take(entry, "unit", str, None, at=at),
            "scale": self._take(entry, "scale", int, 0, at=at, allowed=range(-9, 10)),
            "modulus": self._take(entry, "modulus", int, None, at=at),
            "resolution": self._power_of_ten(entry, at),
            "fraction": self._take(entry, "fraction", str, None, at=at),
            "fraction_per_unit": self._take(entry, "fraction_per_unit", int, 1, at=at),
            "unit_from": self._take(entry, "unit_from", str, None, at=at),
            "unit_codes": self._coded(entry, "unit_codes", at),
            "bits": self._coded(entry, "bits", at),
            "expect": self._take(entry, "expect", int, None, at=at),
            "note": self._take(entry, "note", str, None, at=at),
        }
        self._unknown(entry, at, fields)
        if fields["unit_codes"] is not None:
            fields["unit_codes"] = {
                code: self._unit(text, f"{at}unit_codes") for code, text in fields["unit_codes"].items()
            }
        if width and fields["count"] != registers_of(kind):
            self._fault(f"{at}count = {fields['count']}", f"{kind} takes {registers_of(kind)} registers")
        if fields["count"] is None:
            self._fault(f"{at}count", "is missing; a string states its registers")
            fields["count"] = 1
        self._check_role(fields, at)
        return MapRegister(**fields)

    def _check_role(self, fields: dict[str, Any], at: str) -> None:
        role = fields["role"]
        if role in TOTALS:
            self._unit(fields["unit"], f"{at}unit")
            counted = fields["type"][0] == "f" or fields["fraction"] is not None
            if counted and fields["resolution"] is None:
                self._fault(f"{at}resolution", "is missing; a float or split total needs the worth of one count")
            if not counted and fields["resolution"] is not None:
                self._fault(f"{at}resolution", "belongs to float and split totals; an integer total has its scale")
            if fields["type"] == "string":
                self._fault(f"{at}type = 'string'", "a total is a number")
        if (role == "signature") != (fields["expect"] is not None):
            self._fault(f"{at}expect", "a signature register has the value that it must hold, and no other has")

    def _cross_check(self, registers: list[MapRegister], top: dict[str, Any]) -> None:
        names = [register.name for register in registers]
        for name in {name for name in names if names.count(name) > 1}:
            self._fault(f"register {name!r}", "is there twice")
        for register in registers:
            for key in ("fraction", "unit_from"):
                if (named := getattr(register, key)) is not None and named not in names:
                    self._fault(f"{register.name}.{key} = {named!r}", "names no register of this map")
            if register.count > (top["max_registers"] or MOST_REGISTERS):
                self._fault(f"{register.name}.count", f"is more than max_registers = {top['max_registers']}")
        for role in (*TOTALS, "serial"):
            if sum(register.role == role for register in registers) > 1:
                self._fault(f"role {role!r}", "belongs to one register")

    def _take(
        self,
        table: dict[str, Any],
        key: str,
        kind: type | tuple[type, ...],
        default: object = ...,
        *,
        at: str = "",
        allowed: Iterable[object] | None = None,
    ) -> Any:  # noqa: ANN401 - a TOML value, checked here
        value = table.pop(key, default)
        if value is ...:
            self._fault(f"{at}{key}", "is missing")
            return 0 if kind is int else ""
        if value is default:
            return value
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            self._fault(f"{at}{key} = {value!r}", f"expected {getattr(kind, '__name__', 'a number')}")
            return 0 if default is ... and kind is int else default if default is not ... else ""
        if allowed is not None and value not in allowed:
            shown = (
                f"{allowed.start} to {allowed.stop - 1}" if isinstance(allowed, range) else ", ".join(map(str, allowed))
            )
            self._fault(f"{at}{key} = {value!r}", f"expected one of {shown}")
            return default if default is not ... else value
        return value

    def _power_of_ten(self, entry: dict[str, Any], at: str) -> int | None:
        text = self._take(entry, "resolution", str, None, at=at)
        if text is None:
            return None
        try:
            value = Decimal(text).normalize()
        except InvalidOperation:
            value = Decimal(0)
        exponent = value.as_tuple().exponent
        if value.as_tuple().digits != (1,) or value.is_signed() or not isinstance(exponent, int):
            self._fault(f"{at}resolution = {text!r}", 'expected a power of ten as text, such as "0.001"')
            return None
        return exponent

    def _coded(self, entry: dict[str, Any], key: str, at: str) -> dict[int, str] | None:
        table = entry.pop(key, None)
        if table is None:
            return None
        if not isinstance(table, dict) or not all(
            code.isdecimal() and isinstance(text, str) for code, text in table.items()
        ):
            self._fault(f"{at}{key}", 'expected a table of numbers and names, such as {0 = "leakage"}')
            return None
        return {int(code): text for code, text in table.items()}

    def _unit(self, text: str | None, at: str) -> Unit:
        try:
            return Unit(text)
        except ValueError:
            self._fault(f"{at} = {text!r}", f"expected one of {', '.join(unit.value for unit in Unit)}")
            return Unit.CUBIC_METRE

    def _unknown(self, table: dict[str, Any], at: str, known: Iterable[str]) -> None:
        for key in table:
            near = difflib.get_close_matches(key, list(known), 1)
            self._fault(f"{at}{key}", "unknown key" + (f'; did you mean "{near[0]}"?' if near else ""))

    def _fault(self, where: str, what: str) -> None:
        self.faults.append(f"{self.name}: {where}   {what}")
