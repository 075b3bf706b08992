"""The portal's settings: all faults at once, no setting that breaks durability, nothing personal in logs."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

import pytest
from django.db import connection

from domain.errors import ConfigError
from portal.config.checks import database_is_durable, secret_key_is_stored
from portal.config.environment import DatabaseAddress, read_environment
from portal.core.logs import NoPersonalData

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_django.fixtures import SettingsWrapper


def test_defaults_are_a_sqlite_file_in_the_state_directory(tmp_path: Path) -> None:
    environment = read_environment({"HEADWATER_PORTAL_DIR": str(tmp_path)})
    assert environment.database == DatabaseAddress("sqlite", str(tmp_path / "portal.sqlite3"))
    assert (environment.secret_key, environment.demo, environment.clock_spec) == (None, False, "system")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (
            "postgres://u:p%40ss@db.example:5433/water",
            DatabaseAddress("postgresql", "water", "u", "p@ss", "db.example", "5433"),
        ),
        (
            "postgresql://u@/water?host=/run/postgresql",
            DatabaseAddress("postgresql", "water", "u", "", "/run/postgresql", ""),
        ),
        ("postgresql:///water", DatabaseAddress("postgresql", "water")),
        ("postgresql://u@%2Frun%2Fpg/water", DatabaseAddress("postgresql", "water", "u", "", "/run/pg", "")),
        ("sqlite:////srv/water.db", DatabaseAddress("sqlite", "/srv/water.db")),
    ],
)
def test_database_addresses(url: str, expected: DatabaseAddress) -> None:
    assert read_environment({"DATABASE_URL": url}).database == expected


def test_every_fault_is_reported_at_once() -> None:
    with pytest.raises(ConfigError) as error:
        read_environment(
            {
                "DATABASE_URL": "mysql://root:secret@db/water",
                "HEADWATER_CLOCK": "sundial",
                "HEADWATER_DEMO": "yes",
                "HEADWATER_SECRET_KEY": "short",
                "HEADWATER_BROKER_URL": "mqtt://broker.example:1883",
                "HEADWATER_BROKER_KIND": "rabbit",
                "HEADWATER_BEHIND_TLS_PROXY": "1",
            }
        )
    faults = error.value.faults
    assert [fault.split("=")[0].split(":")[0].split(" ")[0] for fault in faults] == [
        "DATABASE_URL",
        "HEADWATER_DEMO",
        "HEADWATER_CLOCK",
        "HEADWATER_BROKER_URL",
        "HEADWATER_BROKER_KIND",
        "HEADWATER_SECRET_KEY",
        "HEADWATER_BEHIND_TLS_PROXY",
    ]
    assert "secret" not in str(error.value).replace("SECRET", "")
    assert error.value.exit_code == 3


@pytest.mark.parametrize(
    ("env", "allowed"),
    [
        ({"HEADWATER_DEMO": "True"}, True),
        ({"HEADWATER_DEMO": "True", "HEADWATER_ALLOWED_HOSTS": "localhost,127.0.0.1"}, True),
        ({"HEADWATER_DEMO": "True", "HEADWATER_ALLOWED_HOSTS": "localhost,water.example.org"}, False),
        ({"HEADWATER_DEMO": "True", "HEADWATER_ALLOWED_HOSTS": "*"}, False),
        ({"HEADWATER_ALLOWED_HOSTS": "water.example.org"}, True),
        ({"HEADWATER_DEMO": "True", "HEADWATER_BROKER_URL": "mqtt://127.0.0.1:1883"}, True),
        ({"HEADWATER_BROKER_URL": "mqtt://127.0.0.1:1883"}, False),
        ({"HEADWATER_DEMO": "True", "HEADWATER_CLOCK": "scaled:60:0:0"}, True),
        ({"HEADWATER_CLOCK": "scaled:60:0:0"}, False),
    ],
)
def test_clear_text_and_other_clocks_stay_on_one_machine_in_a_demo(env: dict[str, str], allowed: bool) -> None:
    if allowed:
        read_environment(env)
        return
    with pytest.raises(ConfigError):
        read_environment(env)


@pytest.mark.parametrize("url", ["mqtts://broker.example", "mqtts://:8883", "http://x:1", "mqtts://x:99999", ""])
def test_a_broker_has_a_host_and_a_port(url: str) -> None:
    with pytest.raises(ConfigError, match="HEADWATER_BROKER_URL"):
        read_environment({"HEADWATER_BROKER_URL": url})


def test_a_process_without_a_stored_key_is_refused(settings: SettingsWrapper) -> None:
    settings.SECRET_KEY_STORED = False
    assert [message.id for message in secret_key_is_stored(None)] == ["portal.E001"]
    settings.SECRET_KEY_STORED = True
    assert secret_key_is_stored(None) == []


@pytest.mark.django_db
def test_the_database_of_the_tests_is_durable() -> None:
    assert database_is_durable(None, databases=["default"]) == []


@pytest.mark.django_db(transaction=True)
def test_a_database_that_forgets_is_refused() -> None:
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET synchronous_commit = off")
        else:
            cursor.execute("PRAGMA synchronous = NORMAL")
    try:
        messages = database_is_durable(None, databases=["default"])
    finally:
        with connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                cursor.execute("SET synchronous_commit = on")
            else:
                cursor.execute("PRAGMA synchronous = FULL")
    assert [message.id for message in messages] == [
        "portal.E002" if connection.vendor == "postgresql" else "portal.E003"
    ]


@pytest.mark.django_db
def test_models_and_migrations_agree() -> None:
    from django.core.management import call_command

    call_command("makemigrations", "core", "customers", "fleet", "metering", check=True, dry_run=True, verbosity=0)


def test_logs_hold_nothing_personal() -> None:
    record = logging.LogRecord(
        "x", 20, __file__, 1, "sign-in of %s with %s", ("ana@example.org", "hwt_abcdefgh123"), None
    )
    assert NoPersonalData().filter(record)
    assert record.getMessage() == "sign-in of <email> with <secret>"
    code = logging.LogRecord("x", 20, __file__, 1, "code hwc-4g79-j6dd-twrn-t9k9 used", None, None)
    NoPersonalData().filter(code)
    assert code.getMessage() == "code <secret> used"


def test_nor_does_a_traceback() -> None:
    try:
        int("Key (email)=(ana@example.org) already exists.")
    except ValueError:
        record = logging.LogRecord("x", 40, __file__, 1, "it failed", None, sys.exc_info())
    NoPersonalData().filter(record)
    text = logging.Formatter("%(message)s").format(record)
    assert "Key (email)=(<email>) already exists." in text.splitlines()[-1]
    assert "Traceback" in text
    assert "ana@" not in text


def test_the_reference_page_names_every_setting_and_reason() -> None:
    import re
    from pathlib import Path

    from portal.config import environment
    from portal.ingest.errors import REASONS
    from portal.ingest.holes import MAX_AHEAD

    page = (Path(__file__).parents[2] / "docs" / "reference" / "portal.md").read_text(encoding="utf-8")
    source = Path(environment.__file__).read_text(encoding="utf-8")
    settings = set(re.findall(r"HEADWATER_[A-Z_]+|DATABASE_URL", source))
    assert set(re.findall(r"^\| `([A-Z_]+)`", page, re.MULTILINE)) == settings
    documented = dict(re.findall(r"^\| `([a-z-]+)` \| \w+ \| (.+) \|$", page, re.MULTILINE))
    assert set(documented) == set(REASONS)
    assert f"{MAX_AHEAD:,}" in documented.pop("too-far-ahead")
    assert documented == {code: text for code, text in REASONS.items() if code != "too-far-ahead"}
