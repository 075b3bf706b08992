"""The table of drivers: name to dotted path, loaded on first use."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, cast

from domain.errors import ConfigError

if TYPE_CHECKING:
    from drivers.base import MeterDriver

DRIVERS: Mapping[str, str] = MappingProxyType(
    {
        "mbus": "drivers.mbus:MBusDriver",
        "modbus": "drivers.modbus:ModbusDriver",
        "modbus-rtu": "drivers.modbus:ModbusRtuDriver",
        "modbus-tcp": "drivers.modbus:ModbusTcpDriver",
    }
)


def load_driver(name: str) -> MeterDriver:
    """Return a new driver by its name. raises ConfigError when there is none of that name."""
    if name not in DRIVERS:
        raise ConfigError(f"driver = {name!r}   expected one of {', '.join(DRIVERS)}")
    module_name, _, attribute = DRIVERS[name].partition(":")
    return cast("MeterDriver", getattr(importlib.import_module(module_name), attribute)())
