"""`headwater portal ...`: imports, codes, tokens, and what the long-running commands refuse to start with."""

from __future__ import annotations

import http.client
import json
import signal
import socket
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from domain.errors import HeadwaterError
from portal.cli import portal
from portal.core.models import AuditEntry, UtilitySettings
from portal.core.tokens import check_token
from portal.customers import services as customers
from portal.customers.models import Account, AccountAccess, Occupancy, Premise
from portal.customers.services import visible_service_points
from portal.metering.models import Installation, MeterRegister
from tests.broker import free_port
from tests.portal.building import NOON, enrolled, read, total
from tests.portal.processes import Portal, until

if TYPE_CHECKING:
    from pathlib import Path

STREET = {
    "utility": {"name": "Cedar Valley Water", "zone": "America/Denver"},
    "staff": [{"email": "desk@example.org", "name": "Desk", "password": "clear-water-7-springs"}],
    "residents": [
        {"email": "Ana@Example.org", "name": "Ana", "password": "clear-water-7-springs"},
        {"email": "ben@example.org", "name": "Ben"},
    ],
    "premises": [
        {
            "address": f"{12 + n} Elm Street",
            "account": str(1000123 + n),
            "resident": email,
            "meter": {
                "meter_id": f"EFE-0000000{n}",
                "register_id": "total",
                "unit": "m3",
                "scale": -3,
                "modulus": 10**8,
                "start_count": 1000,
            },
            "installed_at": NOON.isoformat(),
            "occupied_from": NOON.isoformat(),
        }
        for n, email in enumerate(("ana@example.org", "ben@example.org"))
    ],
}


def run(*arguments: str) -> Any:
    """Run a command in this process; return its JSON."""
    done = CliRunner().invoke(portal, [*arguments, "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return lines if arguments[0] == "reads" else lines[0]


def load(folder: Path, data: object) -> Any:
    (folder / "load.json").write_text(json.dumps(data), encoding="utf-8")
    return run("load", str(folder / "load.json"))


@pytest.mark.django_db
def test_an_import_is_repeated_without_effect(tmp_path: Path) -> None:
    assert load(tmp_path, STREET)["made"] == {"users": 3, "installations": 2, "accounts": 2, "occupancies": 2}
    assert load(tmp_path, STREET)["made"] == {}
    assert (Premise.objects.count(), Account.objects.count(), Installation.objects.count()) == (2, 2, 2)
    assert MeterRegister.objects.filter(claimed=True).count() == 2
    assert UtilitySettings.objects.get().zone == "America/Denver"
    ana = Account.objects.get(number="1000123").users.get()
    assert ana.email == "ana@example.org"
    assert ana.check_password("clear-water-7-springs")
    assert ana.emailaddress_set.get().verified
    assert [str(point.premise) for point in visible_service_points(ana)] == ["12 Elm Street"]


@pytest.mark.django_db
def test_an_import_gives_nobody_back_what_staff_took(tmp_path: Path) -> None:
    load(tmp_path, STREET)
    for access in AccountAccess.objects.all():
        customers.end_access(access, at=NOON)
    assert load(tmp_path, STREET) == {"made": {}}
    assert not AccountAccess.objects.filter(ended_at=None).exists()


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("place", "fault", "expected"),
    [
        (("premises", 0, "meter", "unit"), "barrel", "premises[0]"),
        (("premises", 1, "occupied_from"), "2026-06-17T12:00:00", "has no offset"),
        (("premises", 1, "resident"), "nobody@example.org", "premises[1]"),
        (("premises", 0, "address"), None, "premises[0]"),
        (("utility", "zone"), "Mars/Olympus", "Mars/Olympus"),
        (("people",), [], "people: unknown key"),
        (("residents", 1, "email"), "ben at example.org", "residents[1]"),
    ],
)
def test_a_faulty_import_changes_nothing(tmp_path: Path, place: tuple[Any, ...], fault: object, expected: str) -> None:
    data = json.loads(json.dumps(STREET))
    inner = data
    for step in place[:-1]:
        inner = inner[step]
    if fault is None:
        del inner[place[-1]]
    else:
        inner[place[-1]] = fault
    with pytest.raises(HeadwaterError) as error:
        load(tmp_path, data)
    assert expected in str(error.value)
    assert error.value.exit_code in (3, 8)
    assert not Premise.objects.exists()
    assert not Occupancy.objects.exists()


@pytest.mark.django_db
def test_tokens_from_the_command_line(tmp_path: Path) -> None:
    load(tmp_path, STREET)
    tokens = run("token", "--all")
    assert set(tokens) == {"ana@example.org", "ben@example.org"}
    row = check_token(tokens["ana@example.org"], scope="usage:read")
    assert row is not None
    assert row.user.email == "ana@example.org"
    assert set(run("token", "Ben@example.org")) == {"ben@example.org"}
    with pytest.raises(HeadwaterError):
        run("token", "nobody@example.org")
    assert "command line" in set(AuditEntry.objects.values_list("actor_label", flat=True))


@pytest.mark.django_db
def test_codes_and_broker_configuration_from_the_command_line(tmp_path: Path) -> None:
    assert run("enrol-code", "hw-elm-1")["code"].startswith("hwc-")
    enrolled("hw-oak-1")
    done = run("broker-config", "--kind", "nats", "--port", "18999", "--out", str(tmp_path / "nats.conf"))
    assert done["port"] == 18999
    text = (tmp_path / "nats.conf").read_text(encoding="ascii")
    assert "CN=hw-oak-1" in text
    assert "CN=hw-elm-1" not in text  # it has a code and is not enrolled yet
    assert "port: 18999" in text
    run("revoke-collector", "hw-oak-1", "--reason", "test")
    run("broker-config", "--out", str(tmp_path / "nats.conf"))
    assert "CN=hw-oak-1" not in (tmp_path / "nats.conf").read_text(encoding="ascii")


@pytest.mark.django_db
def test_reads_are_listed_one_a_line() -> None:
    from portal.ingest.apply import apply_batch

    box = enrolled()
    apply_batch(box.sealed([read(total(), 7, NOON)]), box.name, NOON)
    assert run("reads", "list") == [
        {
            "meter": "EFE-00000001",
            "epoch": box.epoch.hex(),
            "append_seq": 1,
            "register": "total",
            "count": 7,
            "read_at": "2026-06-17T17:00:00+00:00",
        }
    ]


@pytest.mark.xdist_group("portal-processes")
def test_a_portal_starts_serves_and_stops(tmp_path: Path) -> None:
    own = Portal(tmp_path, ready=False)
    try:
        refused = own.command("worker", code=3)
        assert "headwater portal init" in refused["message"]
        own.command("init")
        readable = [path for path in tmp_path.rglob("*") if path.is_file() and path.stat().st_mode & 0o007]
        assert {path.relative_to(tmp_path).parts[0] for path in readable} <= {"static"}
        key = (tmp_path / "keys" / "secret_key").read_bytes()
        own.command("init")
        assert (tmp_path / "keys" / "secret_key").read_bytes() == key
        assert "fold closed days" in own.command("worker", "--once")["jobs"]
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = str(taken.getsockname()[1])
            assert "--port" in own.command("serve", "--port", port, code=10)["message"]
        assert "demo" in own.command("serve", "--host", "0.0.0.0", "--port", str(free_port()), code=3)["message"]
        port = str(free_port())
        serving = own.start("serve", "--port", port)
        until(lambda: _status(int(port), "/api/v1/me") == 401, "the portal answers")
        assert _status(int(port), "/accounts/login/") == 200
        serving.send_signal(signal.SIGTERM)
        assert serving.wait(120) == 0
    finally:
        own.stop()


def _status(port: int, path: str) -> int:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except OSError:
            return 0
