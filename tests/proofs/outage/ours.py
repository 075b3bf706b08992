"""Headwater's side: `headwater gateway run` with its append log, Mosquitto as the portal configures it, its ingest.

Keys, certificates and the enrolment are those of a real installation; only the web server has gone again by the time
that the cell begins, because nothing asks it.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import signal
import socket
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from headwater.demo.processes import free_port, headwater_command, run_to_end, tail
from tests.migrated import copy_tables
from tests.proofs.outage import bank
from tests.proofs.outage.account import account
from tests.proofs.outage.rig import Rig, mount_small_disk, status_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from headwater.demo.processes import Child
    from tests.proofs.outage.account import Account, MeterCount, ReadKey
    from tests.proofs.outage.plan import Cell

COLLECTOR = "hw-outage-1"
SEAL_EVERY_S = 5.0
STATUS_AGE_S = 12.0


class Headwater(Rig):
    """Our gateway, broker and ingest around one bank.

    database_url  of the portal's database; None for SQLite in the folder.
    made_portal   a fresh portal on SQLite to take a copy of (see `make_portal`), to save a minute over all cells.
    sabotage      a fault of headwater.demo.sabotage to plant, so that the table can be seen to find it.
    """

    def __init__(
        self,
        cell: Cell,
        folder: Path,
        *,
        database_url: str | None = None,
        made_portal: Path | None = None,
        sabotage: str | None = None,
    ) -> None:
        super().__init__(cell, folder)
        self._web_port = free_port()
        self._sabotage, self._made_portal = sabotage, made_portal
        self._config = folder / "collector.toml"
        self._broker_state = folder / "broker-state"
        self._environment = {
            "HEADWATER_PORTAL_DIR": str(folder / "portal"),
            "HEADWATER_DEMO": "True",  # enrolment over clear text on this machine
            "HEADWATER_BROKER_URL": f"mqtts://127.0.0.1:{self.broker_port}",
            "HEADWATER_ALLOWED_HOSTS": "127.0.0.1",
            "HEADWATER_BASE_URL": f"http://127.0.0.1:{self._web_port}",
            "DATABASE_URL": database_url or "",
        }
        self._ingest: Child

    @property
    def data_dir(self) -> Path:
        """Where the collector keeps its store."""
        return self.folder / "data"

    @property
    def readings_topic(self) -> re.Pattern[str]:
        """Where batches are published."""
        return re.compile(r"hw1/up/\d+/[a-z0-9-]+/batch")

    def portal(self, *arguments: str, timeout_s: float = 240.0) -> str:
        """Run a `headwater portal` command to its end."""
        return run_to_end(headwater_command("portal", *arguments), environment=self._environment, timeout_s=timeout_s)

    def start(self) -> None:
        """Bring everything up, the gateway last."""
        endpoints = self.start_bank()
        if self.cell.disk_mb:
            mount_small_disk(self.data_dir, self.cell.disk_mb)
        if self._made_portal is None:
            self.portal("init")
        else:
            shutil.copytree(self._made_portal, self.folder / "portal")
        premises = self.folder / "premises.json"
        premises.write_text(json.dumps(_premises(self.cell.meters)), encoding="utf-8")
        self.portal("load", str(premises))
        self._enrol(endpoints)
        configuration = self.folder / "mosquitto.conf"
        self.portal(
            "broker-config", "--kind", "mosquitto", "--port", str(self.broker_port),
            "--state-dir", str(self._broker_state), "--out", str(configuration),
        )  # fmt: skip
        self.make_broker(configuration)
        self.start_broker()
        self._ingest = self.child("ingest", self._command("portal", "ingest"), self._environment)
        self._ingest.start()
        self._ingest.wait_until(self._ingest_ready, what="ingest did not subscribe")
        self.gateway = self.child("gateway", self._command("gateway", "run", "--config", str(self._config)))
        self.gateway.start()

    def _command(self, *arguments: str) -> list[str]:
        if self._sabotage is None:
            return headwater_command(*arguments)
        return [sys.executable, "-P", "-m", "headwater.demo.sabotage", self._sabotage, *arguments]

    def _ingest_ready(self) -> bool:
        return "ingest ready" in tail(self._ingest.log, 50)

    def _enrol(self, endpoints: list[dict[str, int]]) -> None:
        """Enrol over the portal's own web server, which is stopped afterwards."""
        register_map = self.folder / "counting.toml"
        register_map.write_text(bank.MAP, encoding="utf-8")
        self._config.touch(mode=0o600)
        self._config.write_text(_collector_toml(self.cell, endpoints, register_map), encoding="utf-8")
        code = json.loads(self.portal("enrol-code", COLLECTOR, "--json"))["code"]
        serve = self.child("serve", headwater_command("portal", "serve", "--port", str(self._web_port)))
        serve.environment = self._environment
        serve.start()
        serve.wait_until(self._web_accepts, what="the portal did not answer")
        command = headwater_command(
            "gateway", "enrol", "--portal", f"http://127.0.0.1:{self._web_port}", "--code", code,
            "--config", str(self._config),
        )  # fmt: skip
        run_to_end(command, environment={}, timeout_s=240)
        serve.kill()

    def _web_accepts(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._web_port), timeout=1):
            return True
        return False

    def forget_broker_state(self) -> None:
        """The fresh broker knows no session, no subscription and no message."""
        shutil.rmtree(self._broker_state)
        self._broker_state.mkdir(mode=0o700)

    def kill_ingest(self) -> None:
        """SIGKILL the ingest and start it again."""
        self._ingest.kill()
        self._ingest.start()

    def waiting_reads(self) -> int | None:
        """Reads and events that the portal has not acknowledged, by the collector's status if that is fresh."""
        status = status_of(self.data_dir)
        backlog = status.get("backlog") if status.get("written_s", 0) > time.time() - STATUS_AGE_S else None
        return backlog["unsent_items"] + backlog["unacked_items"] if backlog else None

    def drain(self, limit_s: float) -> float:
        """Wait for a status, newer than this moment, that says that nothing waits."""
        began_s = time.time()
        ends_s = began_s + limit_s
        while time.time() < ends_s:
            status = status_of(self.data_dir)
            if status.get("written_s", 0) > began_s + 1 and self.waiting_reads() == 0:
                break
            time.sleep(0.2)
        return time.time() - began_s

    def account(self) -> Account:
        """Stop the collector (it sends what is left), then the ingest, and compare."""
        self.gateway.stop(timeout_s=60)
        self._ingest.send(signal.SIGTERM)
        self._ingest.stop(timeout_s=30)
        appended: dict[ReadKey, MeterCount] = {}
        for row in _whole_lines(self.folder / "append.jsonl"):
            appended[_key(row)] = _total(row)
        held = [json.loads(line) for line in self.portal("reads", "list", "--json").splitlines() if line]
        return account(
            bank.served(self.served_file),
            appended,
            [(_key(row), _total(row)) for row in held],
            kills_s=self.kills_s,
        )


def make_portal(folder: Path) -> Path:
    """Make an empty portal on SQLite, with its keys and its certificate authority; return its directory."""
    copy_tables(folder / "portal.sqlite3")
    environment = {"HEADWATER_PORTAL_DIR": str(folder), "HEADWATER_DEMO": "True", "DATABASE_URL": ""}
    environment["HEADWATER_BROKER_URL"] = "mqtts://127.0.0.1:8883"
    run_to_end(headwater_command("portal", "init"), environment=environment, timeout_s=240)
    return folder


def _whole_lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            if line.endswith("\n"):
                yield json.loads(line)


def _key(row: dict[str, Any]) -> ReadKey:
    return bank.meter_number(row["meter"]), row["epoch"], row["append_seq"]


def _total(row: dict[str, Any]) -> MeterCount:
    return bank.meter_number(row["meter"]), row["count"]


def _collector_toml(cell: Cell, endpoints: list[dict[str, int]], register_map: Path) -> str:
    lines = [
        "[collector]", f'id = "{COLLECTOR}"', 'data_dir = "data"', 'append_log = "append.jsonl"',
        "[poll]", f"every_s = {cell.every_s:g}",
        "[portal]", f"seal_every_s = {SEAL_EVERY_S:g}",
    ]  # fmt: skip
    for number, endpoint in enumerate(endpoints, start=1):
        lines += ["[[bus]]", f'name = "bus-{number}"', 'kind = "tcp"', 'host = "127.0.0.1"']
        lines.append(f"tcp_port = {endpoint['port']}")
        for unit in range(1, endpoint["meters"] + 1):
            meter = bank.meter_name(endpoint["first"] + unit - 1)
            lines += ["[[meter]]", f'id = "{meter}"', f'bus = "bus-{number}"', 'driver = "modbus-tcp"']
            lines += [f'model = "{register_map.name}"', f'address = "{unit}"']
    return "\n".join(lines) + "\n"


def _premises(meters: int) -> dict[str, Any]:
    started = datetime.now(UTC).replace(minute=0, second=0, microsecond=0).isoformat()
    return {
        "utility": {"name": "Outage proof", "zone": "America/Chicago"},
        "premises": [
            {
                "address": f"{meter} Meter Street",
                "meter": {
                    "meter_id": bank.meter_name(meter), "register_id": "total", "unit": "l", "scale": 0,
                    "modulus": None, "start_count": 0,
                },
                "installed_at": started,
            }
            for meter in range(1, meters + 1)
        ],
    }  # fmt: skip
