"""What the street says of itself, turned into the collectors' and the portal's own input files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

DEMO_PASSWORD = "running-water-2026"  # noqa: S105 (printed on the demo's screen, known to everybody)
ZONE = "America/Chicago"
STAFF_EMAIL = "staff@headwater.example"
SECOND_STAFF_EMAIL = "supervisor@headwater.example"
WAYS_TO_PAY = [
    {
        "label": {"en": "In person, by cash, check or card", "es": "En persona, en efectivo, con cheque o tarjeta"},
        "detail": {
            "en": "At the utility's counter of this demonstration",
            "es": "En la ventanilla de esta demostración",
        },
    },
    {
        "label": {"en": "By mail, with the stub of this bill", "es": "Por correo, con el talón de esta factura"},
        "detail": {
            "en": "Nobody opens the letters of a demonstration",
            "es": "Nadie abre las cartas de una demostración",
        },
    },
]
DISPUTE = {
    "en": "Write or call before the due date: nothing is cut off while a bill is disputed.",
    "es": "Escriba o llame antes de la fecha de vencimiento: no se corta el servicio mientras se disputa una factura.",
}

OFFICE = {
    "contact_phone": "405-555-0100",
    "contact_email": "help@headwater.example",
    "emergency_phone": "405-555-0199",
    "postal_address": "1 Demonstration Street\nNorman, OK 73069",
    "office_hours": [{"en": "8 a.m. to 5 p.m., Monday to Friday", "es": "De lunes a viernes, de 8 a. m. a 5 p. m."}],
    "contacts": [
        {
            "label": {"en": "Payments by telephone", "es": "Pagos por teléfono"},
            "phone": "405-555-0120",
            "note": {"en": "Nobody answers in a demonstration", "es": "En una demostración no contesta nadie"},
        }
    ],
    "programme_url": "https://headwater.example/metering",
    "programme_title": {"en": "New meters for the city", "es": "Medidores nuevos para la ciudad"},
}
"""What a demonstration says of its office: numbers and addresses that are reserved for examples."""


def collector_id(number: int) -> str:
    """Return the id of the demo's n-th collector, counting from 1."""
    return f"hw-demo-{number}"


def resident_email(number: int) -> str:
    """Return the address of the resident behind the n-th meter, counting from 1."""
    return f"resident{number}@headwater.example"


def account_number(number: int) -> str:
    """Return the number of the account behind the n-th meter, counting from 1."""
    return str(1_000_000 + number)


def lines_of(street: dict[str, Any], *, collectors: int) -> list[list[dict[str, Any]]]:
    """Deal the street's lines out to the collectors, each line whole: one line has one owner."""
    return [street["lines"][n::collectors] for n in range(min(collectors, len(street["lines"])))]


def collector_toml(
    street: dict[str, Any], lines: Sequence[dict[str, Any]], *, name: str, every_s: float, seal_every_s: float
) -> str:
    """Return the configuration of a collector that reads these lines, before its enrolment adds [portal]."""
    names = {line["name"] for line in lines}
    text = [
        "[collector]",
        f'id = "{name}"',
        'data_dir = "data"',
        f'clock = "{street["clock"]}"',
        'append_log = "append.jsonl"',
        "",
        "[poll]",
        f"every_s = {every_s:g}",
        "",
        "[portal]",
        f"seal_every_s = {seal_every_s:g}",
    ]
    for line in lines:
        text += ["", "[[bus]]", *(f"{key} = {json.dumps(value)}" for key, value in _bus(line).items())]
    for meter in street["meters"]:
        if meter["line"] in names:
            text += ["", "[[meter]]", *(f"{key} = {json.dumps(value)}" for key, value in _meter(meter).items())]
    return "\n".join(text) + "\n"


def _bus(line: dict[str, Any]) -> dict[str, Any]:
    keys = ("host", "tcp_port") if line["kind"] == "tcp" else ("port", "baudrate", "parity", "stop_bits")
    return {"name": line["name"], "kind": line["kind"], **{key: line[key] for key in keys}}


def _meter(meter: dict[str, Any]) -> dict[str, Any]:
    row = {"id": meter["meter_id"], "bus": meter["line"], "driver": meter["driver"], "address": meter["address"]}
    return {**row, **{key: meter[key] for key in ("model", "identity") if meter.get(key)}}


def portal_load(street: dict[str, Any], *, portal_url: str = "") -> dict[str, Any]:
    """Return the import file of the street's premises: one account, one resident and one meter each."""
    return {
        "utility": {
            "name": "City of Norman (demonstration)",
            "zone": ZONE,
            "portal_url": portal_url,
            "ways_to_pay": WAYS_TO_PAY,
            "dispute": DISPUTE,
            **OFFICE,
        },
        "staff": [
            {"email": STAFF_EMAIL, "name": "Billing desk", "password": DEMO_PASSWORD},
            {
                "email": SECOND_STAFF_EMAIL,
                "name": "Billing supervisor",
                "password": DEMO_PASSWORD,
                "may_change_settings": True,
            },
        ],
        "residents": [
            {"email": resident_email(n), "name": f"Resident {n}", "password": DEMO_PASSWORD}
            for n, _ in enumerate(street["meters"], start=1)
        ],
        "premises": [
            {
                "address": meter["premise"],
                "account": account_number(n),
                "resident": resident_email(n),
                "meter": {
                    **{key: meter[key] for key in ("meter_id", "register_id", "unit", "scale", "modulus")},
                    "start_count": meter.get("logged_count", meter["start_count"]),
                },
                "installed_at": meter.get("logged_from", meter["start_at"]),
                "occupied_from": meter.get("logged_from", meter["start_at"]),
            }
            for n, meter in enumerate(street["meters"], start=1)
        ],
    }


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")
