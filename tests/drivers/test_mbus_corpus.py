"""Every published M-Bus frame of the shared data, decoded or refused as its file expects."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from drivers.errors import ApplicationError, BadFrame, MeterError
from drivers.mbus_record import Record
from drivers.mbus_telegram import decode_telegram

# Bytes that are no date, as the published decoder prints them.
NO_DATES = ("2000-00-00", "1900-01-00")


def cases(data_dir: Path) -> list[dict[str, Any]]:
    folder = data_dir / "meters" / "mbus"
    return [json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("*.json"))]


def differs(record: Record, expected: dict[str, Any]) -> bool:
    """Return whether a record is another than published; numbers are compared as the data's README says."""
    if not expected["function"]:
        return False  # the published decoder itself failed on this record
    value = record.value_text()
    if record.function in ("Manufacturer specific", "More records follow"):
        same = value == expected["value_text"]
    elif isinstance(expected["value"], str):
        same = value == expected["value"] or (value is None and expected["value"].startswith(NO_DATES))
    else:
        wanted = Decimal(str(expected["value"]))
        close = max(Decimal("6e-7"), Decimal("1e-6") * abs(wanted))
        same = value is not None and abs(Decimal(value) - wanted) <= close
    placed = (record.storage, record.tariff, record.subunit)
    return not (
        same
        and placed == (expected["storage"] or 0, expected["tariff"] or 0, expected["device"] or 0)
        and (record.unit, record.quantity, record.function)
        == (expected["unit"], expected["quantity"], expected["function"])
    )


def test_every_valid_frame_has_every_published_value(data_dir: Path) -> None:
    valid = [case for case in cases(data_dir) if case["expect"] == "decode"]
    assert valid
    for case in valid:
        telegram = decode_telegram(bytes.fromhex(case["hex"]))
        assert len(telegram.records) == len(case["records"]), case["name"]
        wrong = [
            (record, expected)
            for record, expected in zip(telegram.records, case["records"], strict=True)
            if differs(record, expected)
        ]
        assert not wrong, case["name"]
        header, stated = telegram.header, case["header"]
        assert header.identification == stated["id"].zfill(8), case["name"]
        assert header.medium == stated["medium"], case["name"]
        assert header.manufacturer == stated.get("manufacturer"), case["name"]
        assert header.status == int(stated["status"], 16), case["name"]


def test_every_damaged_frame_is_refused(data_dir: Path) -> None:
    for case in cases(data_dir):
        if case["expect"] == "reject":
            with pytest.raises(BadFrame):
                decode_telegram(bytes.fromhex(case["hex"]))


def test_every_application_error_is_named(data_dir: Path) -> None:
    for case in cases(data_dir):
        if case["expect"] == "application_error":
            with pytest.raises(ApplicationError) as caught:
                decode_telegram(bytes.fromhex(case["hex"]))
            assert caught.value.name == case["application_error"]


def test_what_is_not_supported_does_no_harm(data_dir: Path) -> None:
    for case in cases(data_dir):
        if case["expect"] == "no_crash":
            try:
                decode_telegram(bytes.fromhex(case["hex"]))
            except MeterError:
                continue
