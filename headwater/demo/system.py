"""The demo's processes in the order they need each other, and their restart when one dies."""

from __future__ import annotations

import http.client
import json
import shlex
import signal
import socket
import sys
import time
import tomllib
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from domain.clock import ScaledClock, SystemClock, clock_from_spec
from domain.errors import ResourceUnavailable
from headwater.demo import billing, history, street_files
from headwater.demo.processes import Child, free_port, headwater_command, nats_server, run_to_end, tail

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Options:
    """What the demo was asked for. `every_s` is in seconds of the demo's (virtual) clock.

    months  full calendar months before this one that the meters logged and that are billed.
    """

    directory: Path
    meters: int = 24
    collectors: int = 2
    seed: int = 1
    speed: float = 1.0
    every_s: float = 10.0
    usage: Path | None = None
    leaks: Sequence[str] = ()
    sabotage: str | None = None
    street_arguments: Sequence[str] = ()
    months: int = 0


@dataclass
class Collector:
    """One collector of the demo: its process and its files."""

    name: str
    config: Path
    meters: list[str]
    child: Child
    kills_s: list[float] = field(default_factory=list)

    @property
    def data_dir(self) -> Path:
        """Where it keeps its store."""
        return self.config.parent / "data"

    def status(self) -> dict[str, Any]:
        """Return what the collector last said of itself; empty before the first time."""
        with suppress(OSError, ValueError):
            status: dict[str, Any] = json.loads((self.data_dir / "status.json").read_text(encoding="utf-8"))
            return status
        return {}


class System:
    """Everything that the demo runs. `start` brings it up, `tend` restarts what died, `stop` leaves nothing running."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.directory = options.directory
        self.clock = (
            SystemClock()
            if options.speed == 1
            else ScaledClock(speed=options.speed, anchor_s=time.time(), start=SystemClock().now())
        )
        self.clock_spec = self.clock.spec() if isinstance(self.clock, ScaledClock) else "system"
        self.web_port, self.broker_port = free_port(), free_port()
        self.street: dict[str, Any] = {}
        self.collectors: list[Collector] = []
        self.children: dict[str, Child] = {}
        self.logged = 0
        (self.directory / "logs").mkdir(parents=True, exist_ok=True)

    @property
    def url(self) -> str:
        """Where the portal answers."""
        return f"http://127.0.0.1:{self.web_port}"

    @property
    def portal_environment(self) -> dict[str, str]:
        """Return the portal's settings."""
        return {
            "HEADWATER_PORTAL_DIR": str(self.directory / "portal"),
            "HEADWATER_CLOCK": self.clock_spec,
            "HEADWATER_DEMO": "True",
            "HEADWATER_BROKER_URL": f"mqtts://127.0.0.1:{self.broker_port}",
            "HEADWATER_ALLOWED_HOSTS": "127.0.0.1,localhost",
            "HEADWATER_BASE_URL": self.url,
        }

    def child(self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None) -> Child:
        """Make (not start) a child with its own log."""
        child = Child(name, command, self.directory / "logs" / f"{name}.log", environment or {})
        self.children[name] = child
        return child

    def portal(self, *arguments: str, timeout_s: float = 120.0) -> str:
        """Run a `headwater portal` command to its end."""
        command = headwater_command("portal", *arguments)
        return run_to_end(command, environment=self.portal_environment, timeout_s=timeout_s)

    def start(self, progress: Progress) -> None:
        """Bring everything up; `progress` hears a line before each step."""
        progress(f"simulated street of {self.options.meters} meters")
        self._start_street()
        progress("portal database, certificate authority and keys")
        exports = (f"export {name}={shlex.quote(value)}\n" for name, value in self.portal_environment.items())
        (self.directory / "portal.env").write_text("".join(exports), encoding="utf-8")
        self.portal("init")
        self._wait_for_street()
        progress("premises, accounts and residents")
        load = self.directory / "load.json"
        load.write_text(json.dumps(street_files.portal_load(self.street, portal_url=self.url)), encoding="utf-8")
        self.portal("load", str(load))
        if self.options.months:
            progress("rates, billing cycle and agreements")
            billing.set_up(self)
        progress("portal web server")
        self._start_portal("serve", "--host", "127.0.0.1", "--port", str(self.web_port))
        self.children["serve"].wait_until(self._web_answers, what="the portal did not answer")
        self._make_collectors(progress)
        progress("message broker")
        self._start_broker()
        progress("portal ingest and worker")
        self._start_portal("ingest")
        self._start_portal("worker")
        # A broker keeps nothing for a subscriber it has never seen: the first batches would wait for their resend.
        ingest = self.children["ingest"]
        ingest.wait_until(lambda: "ingest ready" in tail(ingest.log), what="ingest did not subscribe")
        for collector in self.collectors:
            progress(f"collector {collector.name} with {len(collector.meters)} meters")
            collector.child.start()
        if self.options.months:
            progress(f"{self.logged:,} logged reads on their way; then {self.options.months} months are billed")
            billing.bill_months(self)

    def tend(self) -> list[str]:
        """Start again what has died; return the names."""
        died = [child for child in self.children.values() if not child.running]
        for child in died:
            child.start()
        return [child.name for child in died]

    def stop(self) -> None:
        """Stop the collectors first, so that what they hold still finds a broker and a portal; then the rest."""
        for names in (("gateway",), ("ingest", "worker", "serve"), ("street", "broker")):
            group = [child for name, child in self.children.items() if name.startswith(names)]
            for child in group:
                child.send(signal.SIGTERM)
            for child in group:
                child.stop()

    def kill(self) -> None:
        """End everything at once."""
        for child in self.children.values():
            child.kill()

    def ask_street(self, **request: Any) -> dict[str, Any]:
        """Send one request to the street's control socket and return its answer."""
        with closing(socket.socket(socket.AF_UNIX)) as control:
            control.settimeout(10)
            control.connect(str(self.directory / "street" / "control.sock"))
            control.sendall(json.dumps(request).encode() + b"\n")
            answer: dict[str, Any] = json.loads(control.makefile("rb").readline())
        if not answer.get("ok"):
            raise ResourceUnavailable(f"the street refused {request}: {answer}")
        return answer

    def _start_street(self) -> None:
        options = self.options
        command = headwater_command("sim", "street", "--meters", str(options.meters), "--seed", str(options.seed))
        command += ["--dir", str(self.directory / "street"), "--clock", self.clock_spec]
        command += ["--poll-every", f"{options.every_s:g}"]
        if options.usage:
            command += ["--usage", str(options.usage)]
        for leak in options.leaks:
            command += ["--leak", leak]
        if options.months:
            today = self.clock.now().astimezone(ZoneInfo(street_files.ZONE)).date()
            command += ["--logged-since", str(history.first_of_month(today, months_ago=options.months))]
        self.child("street", [*command, *options.street_arguments]).start()

    def _wait_for_street(self) -> None:
        described = self.directory / "street" / "street.json"
        self.children["street"].wait_until(described.exists, what="the street was not ready")
        self.street = json.loads(described.read_text(encoding="utf-8"))

    def _start_portal(self, *arguments: str) -> None:
        name = arguments[0]
        command = headwater_command("portal", *arguments)
        if self.options.sabotage and name == "ingest":
            command = _sabotaged(command, self.options.sabotage)
        self.child(name, command, self.portal_environment).start()

    def _web_answers(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.web_port, timeout=5)
        with suppress(OSError, http.client.HTTPException), closing(connection):
            connection.request("GET", "/accounts/login/")
            return connection.getresponse().status == 200
        return False

    def _make_collectors(self, progress: Progress) -> None:
        shares = street_files.lines_of(self.street, collectors=self.options.collectors)
        for number, lines in enumerate(shares, start=1):
            name = street_files.collector_id(number)
            progress(f"enrolling {name}")
            config = self.directory / name / "collector.toml"
            text = street_files.collector_toml(
                self.street, lines, name=name, every_s=self.options.every_s, seal_every_s=max(2.0, self.options.speed)
            )
            street_files.write_private(config, text)
            code = json.loads(self.portal("enrol-code", name, "--json"))["code"]
            command = headwater_command(
                "gateway", "enrol", "--portal", self.url, "--code", code, "--config", str(config)
            )
            run_to_end(command, environment={})
            meters = [meter["id"] for meter in tomllib.loads(config.read_text(encoding="utf-8"))["meter"]]
            if self.options.months:
                mine = [meter for meter in self.street["meters"] if meter["meter_id"] in meters]
                log = self.directory / "street" / "logger.csv"
                self.logged += history.fetch_log(config.parent / "data", log, mine, clock=self.clock)
            run = headwater_command("gateway", "run", "--config", str(config))
            if self.options.sabotage:
                run = _sabotaged(run, self.options.sabotage)
            self.collectors.append(Collector(name, config, meters, self.child(f"gateway-{name}", run)))

    def _start_broker(self) -> None:
        config = self.directory / "broker" / "nats.conf"
        config.parent.mkdir(exist_ok=True)
        self.portal("broker-config", "--kind", "nats", "--port", str(self.broker_port), "--out", str(config))
        broker = self.child("broker", [nats_server(), "-c", str(config)])
        broker.start()
        broker.wait_until(self._broker_answers, what="the broker did not listen")

    def _broker_answers(self) -> bool:
        with suppress(OSError), closing(socket.create_connection(("127.0.0.1", self.broker_port), timeout=1)):
            return True
        return False


def virtual_now_s(system: System) -> float:
    """Return the demo clock's now in seconds since 1970."""
    return clock_from_spec(system.clock_spec).now().timestamp()


def _sabotaged(command: Sequence[str], kind: str) -> list[str]:
    """Return the command line that runs a headwater command with one fault planted in it."""
    return [sys.executable, "-P", "-m", "headwater.demo.sabotage", kind, *command[4:]]
