"""What can be read, as a table: drivers, and the models they have register maps for."""

from __future__ import annotations

from drivers.modbus_map import TOTALS, load_model, model_names, plan_spans
from drivers.registry import DRIVERS


def overview() -> list[dict[str, object]]:
    """Return one object per driver that reads any meter of its protocol, and one per Modbus model."""
    rows: list[dict[str, object]] = [
        {
            "driver": "mbus",
            "path": DRIVERS["mbus"],
            "model": None,
            "meter": "any wired M-Bus meter (EN 13757-2, -3)",
            "total": "the volume at storage 0, tariff 0, subunit 0",
            "confidence": "published frames of some 60 meters decoded",
        }
    ]
    for name in model_names():
        register_map = load_model(name)
        totals = [register for role in TOTALS for register in register_map.of_role(role)]
        rows.append(
            {
                "driver": "modbus",
                "path": DRIVERS["modbus"],
                "model": name,
                "meter": f"{register_map.maker}: {register_map.meter}",
                "total": ", ".join(f"{total.name} at {total.address} ({total.unit})" for total in totals) or None,
                "requests": len(plan_spans(register_map)),
                "source": register_map.source,
                "confidence": register_map.confidence,
            }
        )
    return rows
