"""The pages about drivers name every model, every key of a map and every driver."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from drivers.modbus_map import MapRegister, RegisterMap, load_model, model_names
from drivers.registry import DRIVERS

PAGES = Path(__file__).parents[2] / "docs" / "drivers"


def test_the_modbus_page_has_every_total_where_its_map_has_it() -> None:
    rows = [line for line in (PAGES / "modbus.md").read_text("utf-8").splitlines() if line.startswith("| ")]
    for name in model_names():
        mine = [row for row in rows if row.startswith(f"| {name} |")]
        assert mine, name
        for role in ("total", "reverse_total"):
            for register in load_model(name).of_role(role):
                row = next(row for row in mine if row.split("|")[3].strip() == role)
                assert row.split("|")[4].strip().startswith(str(register.address)), (name, role)
                assert register.type in row


def test_the_modbus_page_explains_every_key_and_names_every_driver() -> None:
    page = (PAGES / "modbus.md").read_text("utf-8")
    fields = {field.name for kind in (RegisterMap, MapRegister) for field in dataclasses.fields(kind)}
    missing = [key for key in fields - {"registers", "note"} if f"`{key}`" not in page]
    assert missing == []
    assert [name for name in DRIVERS if name.startswith("modbus") and f"`{name}`" not in page] == []
