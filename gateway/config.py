"""collector.toml to frozen dataclasses, and back. Read once at start; nothing reads the environment later.

Every key is described in docs/reference/collector-toml.md; all faults of a file are reported together.
"""

from __future__ import annotations

import ipaddress
import json
import tomllib
from dataclasses import dataclass
from pathlib import Path
from string import hexdigits
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from domain.clock import clock_from_spec
from domain.errors import ConfigError
from domain.ids import CollectorId, MeterId
from domain.units import Unit
from gateway.toml_table import Faults, Table, one_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from domain.clock import ScaledClock, SystemClock

DEFAULT_PATHS = (Path("collector.toml"), Path("/etc/headwater/collector.toml"))
BAUDRATES = (300, 600, 1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200)
PARITIES = ("even", "odd", "none")
DEFAULT_EVERY_S, DEFAULT_ATTEMPTS, DEFAULT_SILENT_AFTER = 300.0, 2, 3
DEFAULT_BATCH_MAX_READS, DEFAULT_SEAL_EVERY_S = 1000, 300.0
DEFAULT_BAUDRATE, DEFAULT_PARITY, DEFAULT_STOP_BITS, DEFAULT_TCP_PORT = 2400, "even", 1, 502
_PORTAL_FILES = ("ca", "certificate", "key", "signing_key", "portal_key")
_SECRET_FILES = ("key", "signing_key")


@dataclass(frozen=True, slots=True)
class CollectorConfig:
    """[collector]: who this box is and where it keeps its state.

    clock       `system`, or a virtual clock of a demo.
    append_log  a JSON line for every stored read, for reconciliation; None for no log.
    """

    id: CollectorId
    data_dir: Path
    clock: str = "system"
    append_log: Path | None = None

    def make_clock(self) -> SystemClock | ScaledClock:
        """Return the clock that the configuration names."""
        return clock_from_spec(self.clock)


@dataclass(frozen=True, slots=True)
class PortalConfig:
    """[portal]: where batches go, and the key files that enrolment wrote.

    broker            mqtts://host:port; mqtt:// only to this machine itself.
    batch_max_reads   a batch is sealed when this many reads wait, or after `seal_every_s`.
    """

    broker: str
    signing_key: Path
    portal_key: Path
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    batch_max_reads: int = DEFAULT_BATCH_MAX_READS
    seal_every_s: float = DEFAULT_SEAL_EVERY_S

    @property
    def address(self) -> tuple[str, int, bool]:
        """Host, port and whether the connection is TLS."""
        url = urlsplit(self.broker)
        tls = url.scheme == "mqtts"
        return url.hostname or "", url.port or (8883 if tls else 1883), tls


@dataclass(frozen=True, slots=True)
class PollConfig:
    """[poll]: how often, and how patiently.

    every_s       seconds between two reads of a meter.
    attempts      tries in one slot before it counts as failed (a quiet meter gets one).
    silent_after  failed slots in a row after which a meter counts as silent and is asked less often.
    """

    every_s: float = DEFAULT_EVERY_S
    attempts: int = DEFAULT_ATTEMPTS
    silent_after: int = DEFAULT_SILENT_AFTER


@dataclass(frozen=True, slots=True)
class BusConfig:
    """[[bus]]: one serial line or TCP endpoint; it has one owner."""

    name: str
    kind: str
    port: str = ""
    baudrate: int = DEFAULT_BAUDRATE
    parity: str = DEFAULT_PARITY
    stop_bits: int = DEFAULT_STOP_BITS
    host: str = ""
    tcp_port: int = DEFAULT_TCP_PORT

    @property
    def line(self) -> str:
        """The line as a technician calls it: `2400 8E1`, or host and port."""
        if self.kind == "tcp":
            return f"{self.host}:{self.tcp_port}"
        return f"{self.baudrate} 8{self.parity[0].upper()}{self.stop_bits}"

    @property
    def where(self) -> str:
        """The device or endpoint."""
        return self.port if self.kind == "serial" else f"{self.host}:{self.tcp_port}"


@dataclass(frozen=True, slots=True)
class MeterConfig:
    """[[meter]]: a meter, the bus it hangs on, and how it is asked.

    identity  what the meter must state about itself; empty when its protocol's own identity is the meter id.
    every_s   None for the interval of [poll].
    unit, scale  of the total, where the meter does not say it and the model only knows the usual one.
    """

    id: MeterId
    bus: str
    driver: str
    address: str
    model: str | None = None
    identity: str | None = None
    every_s: float | None = None
    unit: Unit | None = None
    scale: int | None = None


@dataclass(frozen=True, slots=True)
class GatewayConfig:
    """A whole collector.toml. `portal` is None until the collector is enrolled: it reads and keeps, and sends later."""

    folder: Path
    collector: CollectorConfig
    poll: PollConfig = PollConfig()
    portal: PortalConfig | None = None
    buses: tuple[BusConfig, ...] = ()
    meters: tuple[MeterConfig, ...] = ()

    def bus(self, name: str) -> BusConfig:
        """Return a bus by its name, the only bus when the name is empty.

        raises  ConfigError naming the buses there are.
        """
        names = [bus.name for bus in self.buses]
        if not name and len(names) == 1:
            return self.buses[0]
        for bus in self.buses:
            if bus.name == name:
                return bus
        told = ", ".join(names) or "none: add a [[bus]] to the configuration"
        raise ConfigError(f"no bus is named {name!r}; buses: {told}" if name else f"say which --bus: {told}")

    def on_bus(self, name: str) -> tuple[MeterConfig, ...]:
        """Return the meters of a bus, in the file's order."""
        return tuple(meter for meter in self.meters if meter.bus == name)

    def every_s(self, meter: MeterConfig) -> float:
        """Return how often a meter is read."""
        return self.poll.every_s if meter.every_s is None else meter.every_s


def find(path: Path | None) -> Path:
    """Return the configuration file to use: the given one, or the first default that exists.

    raises  ConfigError when there is none.
    """
    candidates = (path,) if path else DEFAULT_PATHS
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise ConfigError(f"no configuration at {' or '.join(map(str, candidates))}; name it with --config FILE")


def load(path: Path, *, key_files: bool = True) -> GatewayConfig:
    """Read and check a collector.toml.

    key_files  whether the files of [portal] must be there (enrolment writes them later).
    raises     ConfigError with every fault found.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}   cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}   is not TOML: {error}") from error
    return parse(content, folder=path.absolute().parent, key_files=key_files)


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
            _meter(Table(table, where=f"meter[{i}]", faults=faults)) for i, table in enumerate(root.tables("meter"))
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
        every_s=table.number("every_s", default=DEFAULT_EVERY_S, low=1, high=31 * 86_400),
        attempts=table.integer("attempts", default=DEFAULT_ATTEMPTS, low=1, high=5),
        silent_after=table.integer("silent_after", default=DEFAULT_SILENT_AFTER, low=1, high=100),
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
    for name in _PORTAL_FILES:
        optional = not key_files or (clear_text and name in ("ca", "certificate", "key"))
        path = paths[name] = table.path(name, folder=folder, default="" if optional else None)
        if path is None or not key_files:
            continue
        if not path.is_file():
            table.fault(name, "no such file; `headwater gateway enrol` writes it")
        elif name in _SECRET_FILES and path.stat().st_mode & 0o077:
            table.fault(name, f"expected a file that only its owner can read; chmod 600 {path.name}")
    made = PortalConfig(
        broker=broker,
        ca=paths["ca"],
        certificate=paths["certificate"],
        key=paths["key"],
        signing_key=paths["signing_key"] or folder,
        portal_key=paths["portal_key"] or folder,
        batch_max_reads=table.integer("batch_max_reads", default=DEFAULT_BATCH_MAX_READS, low=1, high=50_000),
        seal_every_s=table.number("seal_every_s", default=DEFAULT_SEAL_EVERY_S, low=1, high=86_400),
    )
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
            tcp_port=table.integer("tcp_port", default=DEFAULT_TCP_PORT, low=1, high=65_535),
        )
    else:
        made = BusConfig(
            name=name,
            kind="serial",
            port=str(table.path("port", folder=folder, default=None if kind else "") or ""),
            baudrate=table.integer("baudrate", default=DEFAULT_BAUDRATE, choices=BAUDRATES),
            parity=table.text("parity", default=DEFAULT_PARITY, choices=PARITIES),
            stop_bits=table.integer("stop_bits", default=DEFAULT_STOP_BITS, choices=(1, 2)),
        )
        if not kind:  # already a fault: the keys of the other kind are not faults as well
            table.ignore("host", "tcp_port")
    table.finish()
    return made


def _meter(table: Table) -> MeterConfig:
    unit = table.text("unit", default="", choices=[unit.value for unit in Unit])
    made = MeterConfig(
        id=MeterId(table.checked("id", MeterId, expected=f"expected {MeterId.expected}") or "none"),
        bus=table.text("bus", expected="expected the name of a [[bus]]"),
        driver=table.text("driver", expected=one_of(known_drivers())),
        address=table.checked("address", str, expected="expected the meter's address on its bus"),
        model=table.text("model", default="") or None,
        identity=table.text("identity", default="") or None,
        every_s=table.optional("every_s", table.number, low=1, high=31 * 86_400),
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
        if meter.model and meter.model not in models:
            faults.add(f'meter[{i}].model = "{meter.model}"', one_of(models))
        elif meter.driver.startswith("modbus") and not meter.model:
            faults.add(f"meter[{i}].model", f"missing; {one_of(models)}")
        if meter.id != "none" and (first := id_at.setdefault(meter.id, i)) != i:
            faults.add(f'meter[{i}].id = "{meter.id}"', f"is meter[{first}] already; expected each meter once")
        key = (meter.bus, meter.address.lstrip("0") or "0")
        if meter.address and (first := address_at.setdefault(key, i)) != i:
            told = f"is the address of meter[{first}] on the same bus already"
            faults.add(f'meter[{i}].address = "{meter.address}"', f"{told}; expected one meter for each address")


def to_toml(config: GatewayConfig) -> str:
    """Return the text of a collector.toml that `load` reads back as the same configuration (comments are not kept)."""

    def path(value: Path | None) -> str:
        if value is None:
            return ""
        return str(value.relative_to(config.folder)) if value.is_relative_to(config.folder) else str(value)

    collector = config.collector
    parts = [
        _section(
            "[collector]",
            id=str(collector.id),
            data_dir=path(collector.data_dir),
            clock=collector.clock,
            append_log=path(collector.append_log),
        )
    ]
    if config.portal:
        portal = config.portal
        parts.append(
            _section(
                "[portal]",
                broker=portal.broker,
                ca=path(portal.ca),
                certificate=path(portal.certificate),
                key=path(portal.key),
                signing_key=path(portal.signing_key),
                portal_key=path(portal.portal_key),
                batch_max_reads=portal.batch_max_reads,
                seal_every_s=portal.seal_every_s,
            )
        )
    poll = config.poll
    parts.append(_section("[poll]", every_s=poll.every_s, attempts=poll.attempts, silent_after=poll.silent_after))
    for bus in config.buses:
        if bus.kind == "tcp":
            parts.append(_section("[[bus]]", name=bus.name, kind=bus.kind, host=bus.host, tcp_port=bus.tcp_port))
        else:
            line = _section("[[bus]]", name=bus.name, kind=bus.kind, port=bus.port, baudrate=bus.baudrate)
            parts.append(line + f'parity = "{bus.parity}"\nstop_bits = {bus.stop_bits}\n')
    parts.extend(
        _section(
            "[[meter]]",
            id=str(meter.id),
            bus=meter.bus,
            driver=meter.driver,
            address=meter.address,
            model=meter.model,
            identity=meter.identity,
            every_s=meter.every_s,
            unit=meter.unit.value if meter.unit else None,
            scale=meter.scale,
        )
        for meter in config.meters
    )
    return "\n".join(parts)


def _section(head: str, **keys: str | float | None) -> str:
    rows = [f"{key} = {_toml_value(value)}" for key, value in keys.items() if value not in (None, "")]
    return "\n".join([head, *rows, ""])


def _toml_value(value: str | float | None) -> str:
    if isinstance(value, str):
        # A JSON string is a TOML basic string, but for DEL, which TOML wants escaped.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(int(value)) if isinstance(value, float) and value.is_integer() else repr(value)


def save(config: GatewayConfig, path: Path) -> None:
    """Write a configuration, whole or not at all; the file as it was stays as `<name>.before-enrol`."""
    text = to_toml(config)
    if path.exists():
        path.with_name(f"{path.name}.before-enrol").write_bytes(path.read_bytes())
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
