"""From parsed TOML to a GatewayConfig: every key, its type and range, and what the sections say of each other."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from string import hexdigits
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from domain.clock import clock_from_spec
from domain.errors import ConfigError
from domain.ids import CollectorId, MeterId
from domain.units import Unit
from gateway import config as c
from gateway.config import BusConfig, CollectorConfig, GatewayConfig, MeterConfig, PollConfig, PortalConfig
from gateway.toml_table import Faults, Table, one_of

if TYPE_CHECKING:
    from collections.abc import Mapping

BAUDRATES = (300, 600, 1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200)
PARITIES = ("even", "odd", "none")
SHORTEST_S = 0.1
PORTAL_FILES = ("ca", "certificate", "key", "signing_key", "portal_key")
SECRET_FILES = ("key", "signing_key")


def parse(content: Mapping[str, object], *, folder: Path, key_files: bool = True) -> GatewayConfig:
    """Make a configuration of parsed TOML; relative paths are below `folder`. Raises ConfigError with every fault."""
    faults = Faults()
    root = Table(content, where="", faults=faults)
    collector = root.table("collector")
    if collector is None and "collector" not in content:
        faults.add("collector", 'missing; expected a table [collector] with at least id = "..."')
    portal = root.table("portal")
    config = GatewayConfig(
        folder=folder,
        collector=_collector(Table(collector or {"id": "none"}, where="collector", faults=faults), folder),
        poll=_poll(Table(root.table("poll") or {}, where="poll", faults=faults)),
        portal=None
        if portal is None
        else _portal(Table(portal, where="portal", faults=faults), folder, key_files=key_files),
        buses=tuple(
            _bus(Table(table, where=f"bus[{i}]", faults=faults), folder) for i, table in enumerate(root.tables("bus"))
        ),
        meters=tuple(
            _meter(Table(table, where=f"meter[{i}]", faults=faults), folder)
            for i, table in enumerate(root.tables("meter"))
        ),
    )
    root.finish()
    _check_buses(config, faults)
    _check_meters(config, faults)
    if faults.rows:
        raise ConfigError(faults.lines())
    return config


def _collector(table: Table, folder: Path) -> CollectorConfig:
    made = CollectorConfig(
        id=CollectorId(table.checked("id", CollectorId, expected=f"expected {CollectorId.expected}") or "none"),
        data_dir=table.path("data_dir", folder=folder, default="data") or folder / "data",
        clock=table.text("clock", default="system"),
        append_log=table.path("append_log", folder=folder, default=""),
    )
    try:
        clock_from_spec(made.clock)
    except ValueError:
        table.fault("clock", "expected system or scaled:SPEED:ANCHOR_S:START_S")
    table.finish()
    return made


def _poll(table: Table) -> PollConfig:
    made = PollConfig(
        every_s=table.number("every_s", default=c.DEFAULT_EVERY_S, low=SHORTEST_S, high=31 * 86_400),
        attempts=table.integer("attempts", default=c.DEFAULT_ATTEMPTS, low=1, high=5),
        silent_after=table.integer("silent_after", default=c.DEFAULT_SILENT_AFTER, low=1, high=100),
    )
    table.finish()
    return made


def _portal(table: Table, folder: Path, *, key_files: bool) -> PortalConfig:
    """Read [portal]. Before enrolment (`key_files` False) it may hold as little as a seal interval."""
    broker = table.text("broker", default=None if key_files else "", expected="expected mqtts://HOST:PORT")
    fault = broker_fault(broker) if broker else None
    if fault:
        table.fault("broker", fault)
    clear_text = broker.startswith("mqtt://")
    paths: dict[str, Path | None] = {}
    for name in PORTAL_FILES:
        optional = not key_files or (clear_text and name in ("ca", "certificate", "key"))
        path = paths[name] = table.path(name, folder=folder, default="" if optional else None)
        if path is None or not key_files:
            continue
        if not path.is_file():
            table.fault(name, "no such file; `headwater gateway enrol` writes it")
        elif name in SECRET_FILES and path.stat().st_mode & 0o077:
            table.fault(name, f"expected a file that only its owner can read; chmod 600 {path.name}")
    made = PortalConfig(
        broker=broker,
        ca=paths["ca"],
        certificate=paths["certificate"],
        key=paths["key"],
        signing_key=paths["signing_key"] or folder,
        portal_key=paths["portal_key"] or folder,
        batch_max_reads=table.integer("batch_max_reads", default=c.DEFAULT_BATCH_MAX_READS, low=1, high=50_000),
        seal_every_s=table.number("seal_every_s", default=c.DEFAULT_SEAL_EVERY_S, low=1, high=86_400),
        upload_bytes_per_s_max=table.integer("upload_bytes_per_s_max", default=0, low=0, high=1_000_000_000),
    )
    if 0 < made.upload_bytes_per_s_max < c.UPLOAD_BYTES_PER_S_MIN:
        expected = f"expected 0 for no bound, or {c.UPLOAD_BYTES_PER_S_MIN} and more"
        table.fault("upload_bytes_per_s_max", expected)
    table.finish()
    return made


def broker_fault(broker: str) -> str | None:
    """Return what is wrong with a broker's URL, None when it can be used."""
    try:
        url = urlsplit(broker)
        _ = url.port
    except ValueError:
        return "expected mqtts://HOST:PORT"
    if url.scheme not in ("mqtt", "mqtts") or not url.hostname or url.path.strip("/") or url.query or url.username:
        return "expected mqtts://HOST:PORT"
    if url.scheme == "mqtt" and not is_loopback(url.hostname):
        return "expected mqtts://: clear text goes to this machine itself only"
    return None


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine itself, without asking a name server."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _bus(table: Table, folder: Path) -> BusConfig:
    name = table.text("name")
    kind = table.text("kind", choices=("serial", "tcp"))
    if kind == "tcp":
        made = BusConfig(
            name=name,
            kind=kind,
            host=table.text("host", expected="expected a host name or an address"),
            tcp_port=table.integer("tcp_port", default=c.DEFAULT_TCP_PORT, low=1, high=65_535),
        )
    else:
        made = BusConfig(
            name=name,
            kind="serial",
            port=str(table.path("port", folder=folder, default=None if kind else "") or ""),
            baudrate=table.integer("baudrate", default=c.DEFAULT_BAUDRATE, choices=BAUDRATES),
            parity=table.text("parity", default=c.DEFAULT_PARITY, choices=PARITIES),
            stop_bits=table.integer("stop_bits", default=c.DEFAULT_STOP_BITS, choices=(1, 2)),
        )
        if not kind:  # already a fault: the keys of the other kind are not faults as well
            table.ignore("host", "tcp_port")
    table.finish()
    return made


def _meter(table: Table, folder: Path) -> MeterConfig:
    unit = table.text("unit", default="", choices=[unit.value for unit in Unit])
    model = table.text("model", default="")
    made = MeterConfig(
        id=MeterId(table.checked("id", MeterId, expected=f"expected {MeterId.expected}") or "none"),
        bus=table.text("bus", expected="expected the name of a [[bus]]"),
        driver=table.text("driver", expected=one_of(known_drivers())),
        address=table.checked("address", str, expected="expected the meter's address on its bus"),
        # A register map of one's own is a file; every other model comes with the drivers.
        model=(str(folder / model) if model.endswith(".toml") else model) or None,
        identity=table.text("identity", default="") or None,
        every_s=table.optional("every_s", table.number, low=SHORTEST_S, high=31 * 86_400),
        unit=Unit(unit) if unit else None,
        scale=table.optional("scale", table.integer, low=-9, high=9),
    )
    table.finish()
    return made


def known_drivers() -> tuple[str, ...]:
    """Return the names of the protocols that can be read."""
    from drivers.registry import DRIVERS

    return tuple(sorted(DRIVERS))


def known_models() -> tuple[str, ...]:
    """Return the names of the meter models that come with the drivers."""
    import drivers

    folder = Path(drivers.__file__).parent / "models"
    return tuple(sorted(path.stem for path in folder.glob("*.toml")))


def address_fault(driver: str, address: str) -> str | None:
    """Return what is wrong with an address, None when a meter of that protocol can have it."""
    if driver == "mbus":
        secondary = address.removeprefix("s:")
        if address != secondary:
            good = len(secondary) in (8, 16) and all(digit in hexdigits for digit in secondary)
        else:
            good = address.isascii() and address.isdecimal() and int(address) <= 250
        return None if good else "expected a primary address from 0 to 250, or s: and the 8 digits of the meter"
    last = 255 if driver == "modbus-tcp" else 247
    if driver.startswith("modbus") and not (address.isascii() and address.isdecimal() and 1 <= int(address) <= last):
        return f"expected an address from 1 to {last}"
    return None


def _check_buses(config: GatewayConfig, faults: Faults) -> None:
    first_at: dict[tuple[str, str], int] = {}
    for i, bus in enumerate(config.buses):
        for what, value in (("name", bus.name), ("port" if bus.kind == "serial" else "host", bus.where)):
            if not value.strip(":"):
                continue
            first = first_at.setdefault((what, value), i)
            if first != i:
                verb = "is the name of" if what == "name" else "belongs to"
                faults.add(f'bus[{i}].{what} = "{value}"', f"{verb} bus[{first}] already; expected one bus for each")


def _check_meters(config: GatewayConfig, faults: Faults) -> None:
    names, drivers, models = [bus.name for bus in config.buses], known_drivers(), known_models()
    id_at: dict[str, int] = {}
    address_at: dict[tuple[str, str], int] = {}
    for i, meter in enumerate(config.meters):
        if meter.bus and meter.bus not in names:
            faults.add(f'meter[{i}].bus = "{meter.bus}"', one_of(names) if names else "expected a [[bus]] of that name")
        if meter.driver and meter.driver not in drivers:
            faults.add(f'meter[{i}].driver = "{meter.driver}"', one_of(drivers))
        elif meter.address and (fault := address_fault(meter.driver, meter.address)):
            faults.add(f'meter[{i}].address = "{meter.address}"', fault)
        if meter.model and meter.model.endswith(".toml"):
            if not Path(meter.model).is_file():
                faults.add(f'meter[{i}].model = "{meter.model}"', "no such file; expected a register map")
        elif meter.model and meter.model not in models:
            faults.add(f'meter[{i}].model = "{meter.model}"', f"{one_of(models)}, or a file of your own: *.toml")
        elif meter.driver.startswith("modbus") and not meter.model:
            faults.add(f"meter[{i}].model", f"missing; {one_of(models)}")
        if meter.id != "none" and (first := id_at.setdefault(meter.id, i)) != i:
            faults.add(f'meter[{i}].id = "{meter.id}"', f"is meter[{first}] already; expected each meter once")
        key = (meter.bus, meter.address.lstrip("0") or "0")
        if meter.address and (first := address_at.setdefault(key, i)) != i:
            told = f"is the address of meter[{first}] on the same bus already"
            faults.add(f'meter[{i}].address = "{meter.address}"', f"{told}; expected one meter for each address")
