"""The peer's side: ThingsBoard Gateway 3.8.5 with one of its three storages, Mosquitto, and a stub for its platform.

Its settings are the defaults of its own documents with everything switched off that is not reading and sending: remote
configuration, statistics, remote shell, update checks. One tag a meter, one request a read, as on our side.
"""

from __future__ import annotations

import json
import os
import re
import signal
import time
from typing import TYPE_CHECKING, Any

from tests.proofs.outage import bank
from tests.proofs.outage.account import account
from tests.proofs.outage.rig import Rig, mount_small_disk
from tests.proofs.outage.stub import TELEMETRY

if TYPE_CHECKING:
    from pathlib import Path

    from headwater.demo.processes import Child
    from tests.proofs.outage.account import Account
    from tests.proofs.outage.plan import Cell

_DAEMON = """
from thingsboard_gateway.tb_utility import tb_updater
tb_updater.TBUpdater.check_for_new_version = lambda self: None
from thingsboard_gateway.tb_gateway import daemon
daemon()
"""
_QUIET_S = 15.0


class ThingsBoard(Rig):
    """The peer around one bank.

    python   the interpreter of the environment that has it.
    storage  sqlite, memory or file.
    """

    def __init__(self, cell: Cell, folder: Path, *, python: Path, storage: str) -> None:
        super().__init__(cell, folder)
        self._python, self._storage = python, storage
        self._received = folder / "received.jsonl"
        self._stub: Child

    @property
    def data_dir(self) -> Path:
        """Where its storage is."""
        return self.folder / "data"

    @property
    def readings_topic(self) -> re.Pattern[str]:
        """Where it publishes readings."""
        return re.compile(re.escape(TELEMETRY))

    def start(self) -> None:
        """Bring everything up, the gateway last."""
        endpoints = self.start_bank()
        if self.cell.disk_mb:
            mount_small_disk(self.data_dir, self.cell.disk_mb)
        self._configure(endpoints)
        self._make_broker()
        self.start_broker()
        self._stub = self.program("stub", str(self.broker_port), str(self._received))
        self._stub.start()
        self._stub.wait_until(lambda: b"stub ready" in self._stub.log.read_bytes(), what="the stub did not subscribe")
        environment = {
            "TB_GW_CONFIG_DIR": f"{self.folder}/config/",
            "PATH": f"{self._python.parent}:{os.environ['PATH']}",
            "PYTHONPATH": "",
            "PYTHONUNBUFFERED": "1",
            "PIP_NO_INDEX": "1",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        }
        command = ["/bin/sh", "-c", 'cd "$1" && exec "$2" -c "$3"', "sh", str(self.folder), str(self._python), _DAEMON]
        self.gateway = self.child("gateway", command, environment)
        self.gateway.start()

    def _make_broker(self) -> None:
        """Its state survives a cut: the stub's subscription stands, so that what is lost the gateway has lost."""
        state = self.folder / "broker-state"
        state.mkdir(exist_ok=True)
        configuration = self.folder / "mosquitto.conf"
        lines = [
            f"listener {self.broker_port} 127.0.0.1",
            "allow_anonymous true",
            "persistence true",
            f"persistence_location {state}/",
            "autosave_interval 1",
            "max_queued_messages 0",
            "max_inflight_messages 0",
            "message_size_limit 0",
        ]
        configuration.write_text("\n".join(lines) + "\n", encoding="utf-8")
        self.make_broker(configuration)

    def _configure(self, endpoints: list[dict[str, int]]) -> None:
        configuration = self.folder / "config"
        for folder in (configuration, self.data_dir, self.folder / "logs"):
            folder.mkdir(parents=True, exist_ok=True)
        files = {
            "tb_gateway.json": _gateway_json(self.broker_port, self._storage, self.data_dir),
            "modbus.json": {"master": {"slaves": _slaves(endpoints, self.cell.every_s)}},
            "logs.json": _logs_json(self.folder / "logs"),
        }
        for name, content in files.items():
            (configuration / name).write_text(json.dumps(content, indent=1), encoding="utf-8")

    def drain(self, limit_s: float) -> float:
        """Wait until as many different totals as were served have come, or nothing has come for a while."""
        began_s = last_change_s = time.time()
        came: set[tuple[int, int]] = set()
        offset = 0
        while time.time() - began_s < limit_s and len(came) < self.replies():
            found, reached = self._totals(offset)
            came.update(found)
            if reached != offset:
                offset, last_change_s = reached, time.time()
            elif time.time() - last_change_s > max(_QUIET_S, limit_s / 4):
                break
            time.sleep(1.0)
        return time.time() - began_s

    def _totals(self, offset: int = 0) -> tuple[list[tuple[int, int]], int]:
        """Return each reading that came behind a place of the stub's file, as often as it came, and the next place."""
        if not self._received.exists():
            return [], offset
        found = []
        with self._received.open("rb") as lines:
            lines.seek(offset)
            for line in lines:
                if not line.endswith(b"\n"):
                    break
                offset += len(line)
                for device, rows in json.loads(line)["readings"].items():
                    totals = [row.get("values", row).get("total") for row in rows]
                    found += [(bank.meter_number(device), int(total)) for total in totals if total is not None]
        return found, offset

    def account(self) -> Account:
        """Stop the gateway, then compare; it keeps no record of what it appended."""
        self.gateway.stop(timeout_s=20)
        time.sleep(1.0)
        self._stub.send(signal.SIGTERM)
        self._stub.stop()
        received = [(None, total) for total in self._totals()[0]]
        return account(bank.served(self.served_file), None, received, kills_s=self.kills_s)


def _gateway_json(port: int, storage: str, data: Path) -> dict[str, Any]:
    storages = {
        "memory": {"type": "memory", "read_records_count": 100, "max_records_count": 100_000},
        "file": {
            "type": "file", "data_folder_path": f"{data}/", "max_file_count": 10, "max_read_records_count": 10,
            "max_records_per_file": 10_000,
        },
        "sqlite": {
            "type": "sqlite", "data_file_path": f"{data}/", "messages_ttl_check_in_hours": 1,
            "messages_ttl_in_days": 7,
        },
    }  # fmt: skip
    return {
        "thingsboard": {
            "host": "127.0.0.1",
            "port": port,
            "remoteShell": False,
            "remoteConfiguration": False,
            "statistics": {"enable": False},
            "deviceFiltering": {"enable": False},
            "maxPayloadSizeBytes": 8196,
            "minPackSendDelayMS": 50,
            "minPackSizeToSend": 500,
            "checkConnectorsConfigurationInSeconds": 60,
            "handleDeviceRenaming": True,
            "security": {"type": "accessToken", "accessToken": "bench"},
            "qos": 1,
            "checkingDeviceActivity": {"checkDeviceInactivity": False},
            "reportStrategy": {"type": "ON_RECEIVED"},
        },
        "storage": storages[storage],
        "grpc": {"enabled": False},
        "connectors": [{"type": "modbus", "name": "Modbus", "configuration": "modbus.json"}],
    }


def _slaves(endpoints: list[dict[str, int]], every_s: float) -> list[dict[str, Any]]:
    total = {"tag": "total", "type": "32uint", "functionCode": 3, "objectsCount": 2, "address": 0}
    return [
        {
            "host": "127.0.0.1", "port": endpoint["port"], "type": "tcp", "method": "socket", "unitId": unit,
            "deviceName": bank.meter_name(endpoint["first"] + unit - 1), "deviceType": "water", "timeout": 5,
            "byteOrder": "BIG", "wordOrder": "BIG", "retries": 3, "pollPeriod": int(every_s * 1000),
            "connectAttemptTimeMs": 500, "connectAttemptCount": 5, "waitAfterFailedAttemptsMs": 30_000,
            "attributes": [], "timeseries": [total], "attributeUpdates": [], "rpc": [],
        }
        for endpoint in endpoints
        for unit in range(1, endpoint["meters"] + 1)
    ]  # fmt: skip


def _logs_json(folder: Path) -> dict[str, Any]:
    """Return a logging configuration that keeps warnings of the service and its connectors in one file."""
    names = ("service", "connector", "converter", "tb_connection", "storage", "extension")
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
        "handlers": {"file": {"class": "logging.FileHandler", "formatter": "line", "filename": str(folder / "tb.log")}},
        "loggers": {name: {"handlers": ["file"], "level": "WARNING", "propagate": False} for name in names},
        "root": {"level": "WARNING", "handlers": ["file"]},
    }
