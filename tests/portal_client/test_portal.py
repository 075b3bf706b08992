"""The client and the enrolment command against the real portal, run as child processes."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from domain.units import Unit
from gateway import config as gateway_config
from portal_client.client import PortalClient
from portal_client.errors import Conflict, NotAuthorised, NotEnrolled, PortalError
from tests.broker import free_port
from tests.migrated import copy_tables

pytestmark = pytest.mark.xdist_group("portal-client")  # they share a portal

TOML = """
[collector]
id = "hw-test-1"

[portal]
seal_every_s = 17
upload_bytes_per_s_max = 900

[[bus]]
name = "riser"
kind = "tcp"
host = "127.0.0.1"
"""


class Portal:
    """A portal of its own in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"http://127.0.0.1:{free_port()}"
        self.environment = {
            **os.environ,
            "HEADWATER_PORTAL_DIR": str(folder / "portal"),
            "HEADWATER_DEMO": "True",
            "HEADWATER_BROKER_URL": "mqtts://127.0.0.1:8883",
        }
        copy_tables(folder / "portal" / "portal.sqlite3")
        self.run("init")
        premise = {
            "address": "12 Elm Street", "account": "1000123", "resident": "r@example.org",
            "meter": {"meter_id": "EFE-04990254", "register_id": "total", "unit": "m3", "scale": -3,
                      "modulus": 100000000, "start_count": 1000},
            "installed_at": "2026-01-01T00:00:00Z", "occupied_from": "2026-01-01T00:00:00Z",
        }  # fmt: skip
        load = folder / "load.json"
        load.write_text(
            json.dumps(
                {
                    "utility": {"name": "Norman", "zone": "America/Chicago"},
                    "residents": [{"email": "r@example.org", "name": "R", "password": "a-long-password-1"}],
                    "premises": [premise],
                }
            )
        )
        self.run("load", str(load))
        with (folder / "serve.log").open("wb") as log:
            self.child = subprocess.Popen(
                [*self.command("serve"), "--port", self.url.rsplit(":", 1)[1]],
                env=self.environment, stdout=log, stderr=log,
            )  # fmt: skip

    @staticmethod
    def command(*arguments: str) -> list[str]:
        return [sys.executable, "-m", "headwater", "portal", *arguments]

    def run(self, *arguments: str) -> str:
        done = subprocess.run(
            self.command(*arguments), env=self.environment, capture_output=True, text=True, timeout=240, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def code(self, collector: str) -> str:
        return str(json.loads(self.run("enrol-code", collector, "--json"))["code"])

    def wait(self) -> None:
        ends = time.monotonic() + 120
        while True:
            try:
                PortalClient(self.url).me()
            except NotAuthorised:
                return
            except PortalError:
                assert time.monotonic() < ends, (self.folder / "serve.log").read_text()
                assert self.child.poll() is None, (self.folder / "serve.log").read_text()


@pytest.fixture(scope="module")
def portal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Portal]:
    made = Portal(tmp_path_factory.mktemp("portal"))
    try:
        made.wait()
        yield made
    finally:
        made.child.terminate()
        made.child.wait(60)


def test_a_resident_sees_their_own_usage_and_nobody_elses(portal: Portal) -> None:
    token = json.loads(portal.run("token", "r@example.org", "--json"))
    client = PortalClient(portal.url, token=token["r@example.org"])
    me = client.me()
    assert (me.email, me.zone) == ("r@example.org", "America/Chicago")
    (point,) = me.service_points
    assert point.address == "12 Elm Street"
    start = datetime(2026, 11, 1, 5, tzinfo=UTC)
    usage = client.usage(point.id, start=start, end=start + timedelta(days=2), unit=Unit.GALLON)
    assert [row.counts for row in usage.intervals] == [None] * len(usage.intervals)
    assert usage.intervals[0].end - usage.intervals[0].start == timedelta(hours=25)  # the clocks went back that day
    for form, begin in (("csv", b"place,"), ("xlsx", b"PK"), ("xml", b"<?xml")):
        file = client.usage_file(point.id, start=start, end=start + timedelta(days=2), form=form, every="hour")
        assert file.startswith(begin)
    with pytest.raises(NotAuthorised):  # this token is for usage alone
        list(client.bills())
    with pytest.raises(Conflict, match="three years"):
        client.usage_file(point.id, start=start - timedelta(days=2000), end=start)
    with pytest.raises(Conflict, match="no such service point"):
        client.usage("nobody", start=start, end=start + timedelta(days=1))
    with pytest.raises(NotAuthorised):
        PortalClient(portal.url, token="wrong").me()


def enrol(portal: Portal, path: Path, code: str) -> subprocess.CompletedProcess[str]:
    command = ["gateway", "enrol", "--portal", portal.url, "--code", code, "--config", str(path), "--json"]
    return subprocess.run(
        [sys.executable, "-m", "headwater", *command], capture_output=True, text=True, timeout=240, check=False
    )


def test_enrolment_makes_the_keys_on_the_box_and_a_configuration_that_is_good(portal: Portal, tmp_path: Path) -> None:
    path = tmp_path / "collector.toml"
    path.write_text(TOML)
    code = portal.code("hw-test-1")
    done = enrol(portal, path, code)
    assert done.returncode == 0, done.stderr
    config = gateway_config.load(path)
    assert config.portal is not None
    assert config.portal.broker == "mqtts://127.0.0.1:8883"
    assert config.portal.seal_every_s == 17
    assert config.portal.upload_bytes_per_s_max == 900
    for secret in (config.portal.key, config.portal.signing_key):
        assert secret is not None
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert (tmp_path / "collector.toml.before-enrol").read_text() == TOML
    keys = config.portal.signing_key.read_bytes()
    again = enrol(portal, path, code)
    assert again.returncode == 8
    assert json.loads(again.stderr)["error"] == "NotEnrolled"
    assert config.portal.signing_key.read_bytes() == keys


def test_a_code_for_another_collector_is_refused(portal: Portal, tmp_path: Path) -> None:
    path = tmp_path / "collector.toml"
    path.write_text(TOML)
    done = enrol(portal, path, portal.code("hw-other-1"))
    assert done.returncode == 8
    assert "belongs to collector hw-other-1" in done.stderr
    assert path.read_text() == TOML
    assert not (tmp_path / "keys").exists()


def test_the_client_asks_what_the_portal_publishes(portal: Portal) -> None:
    import urllib.request

    with urllib.request.urlopen(f"{portal.url}/api/v1/openapi.json", timeout=60) as answer:
        paths = json.load(answer)["paths"]
    assert {"/api/v1/enrol", "/api/v1/me", "/api/v1/usage"} <= set(paths)
    asked = {parameter["name"] for parameter in paths["/api/v1/usage"]["get"]["parameters"]}
    assert asked == {"service_point", "from", "to", "resolution", "unit"}


def test_an_enrolment_with_nonsense_is_refused(portal: Portal) -> None:
    with pytest.raises(NotEnrolled, match="request is not a certificate"):
        PortalClient(portal.url).enrol(
            code="hwc-x", csr_pem="none", signing_alg="EDDSA", signing_public=b"k" * 32, proof=b"p"
        )
