"""collector.toml as frozen dataclasses. Read once at start; nothing reads the environment later.

Every key is described in docs/reference/collector-toml.md; all faults of a file are reported together.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from domain.clock import clock_from_spec
from domain.errors import ConfigError

if TYPE_CHECKING:
    from domain.clock import ScaledClock, SystemClock
    from domain.ids import CollectorId, MeterId
    from domain.units import Unit

DEFAULT_PATHS = (Path("collector.toml"), Path("/etc/headwater/collector.toml"))
DEFAULT_EVERY_S, DEFAULT_ATTEMPTS, DEFAULT_SILENT_AFTER = 300.0, 2, 3
DEFAULT_BATCH_MAX_READS, DEFAULT_SEAL_EVERY_S = 1000, 300.0
UPLOAD_BYTES_PER_S_MIN = 100
DEFAULT_BAUDRATE, DEFAULT_PARITY, DEFAULT_STOP_BITS, DEFAULT_TCP_PORT = 2400, "even", 1, 502


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
    upload_bytes_per_s_max  bound for reads on a metered link, 0 for none; alarms go at once.
    """

    broker: str
    signing_key: Path
    portal_key: Path
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    batch_max_reads: int = DEFAULT_BATCH_MAX_READS
    seal_every_s: float = DEFAULT_SEAL_EVERY_S
    upload_bytes_per_s_max: int = 0

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

    model     a register map that comes with the drivers, or the path of one's own (it ends with .toml).
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
    from gateway.config_parse import parse

    return parse(content, folder=path.absolute().parent, key_files=key_files)


def save(config: GatewayConfig, path: Path) -> None:
    """Write a configuration, whole or not at all; the file as it was stays as `<name>.before-enrol`."""
    from gateway.config_text import to_toml

    text = to_toml(config)
    if path.exists():
        path.with_name(f"{path.name}.before-enrol").write_bytes(path.read_bytes())
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
