"""docs/reference/figures.md from a complete run of the benchmark.

make bench > figures.json ; .venv/bin/python -m tests.bench.page < figures.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

_REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference"
PAGE, FIGURES = _REFERENCE / "figures.md", _REFERENCE / "figures.json"


def render(figures: dict[str, Any]) -> str:
    """Return the page of a run's figures."""
    sections = [_head(figures), *(_SECTIONS[name](figures[name]) for name in _SECTIONS)]
    return "\n\n".join(sections) + "\n"


def _table(head: list[str], rows: list[list[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_shown(cell) for cell in line) + " |" for line in lines)


def _shown(cell: object) -> str:
    if isinstance(cell, float) and cell.is_integer():
        cell = int(cell)
    return f"{cell:,}" if isinstance(cell, int | float) else str(cell)


def _head(figures: dict[str, Any]) -> str:
    machine = figures["machine"]
    kind = f"{machine['cpu']}, {machine['kernel']}, Python {machine['python']}, SQLite {machine['sqlite']}"
    return f"""# Figures

Printed by `make bench` on {figures["at"][:10]} in {figures["took_s"]:.0f} s and kept in [figures.json](figures.json),
which says of every section what was measured and what was extrapolated. The machine had {machine["cores"]} cores
({kind};
{machine["filesystem"]}, a sync of 4 KiB in {machine["sync_ms"]} ms) and was shared with other work: absolute speeds are
of that hour, the ratios were taken in one run. Reads are of generated households, figures medians of several runs.
This page is made from the JSON by `python -m tests.bench.page`."""


def _wire(section: dict[str, Any]) -> str:
    rows: list[list[object]] = [
        [
            name.replace("x", " x "),
            row["bytes_per_read"],
            row["over_floor"],
            row["peer_json_over_ours"],
            row["json_bytes_per_read"],
            row["json_zlib9_bytes_per_read"],
            row["encode_and_sign_us_per_read"],
            row["verify_and_decode_us_per_read"],
            row["encode_and_sign_over_json_dumps"],
            row["verify_and_decode_over_json_loads"],
        ]
        for name, row in section["shapes"].items()
    ]
    head = [
        "meters x reads",
        "bytes a read",
        "/ floor",
        "peer's JSON / ours",
        "JSON",
        "JSON, zlib",
        "sign, us",
        "open, us",
        "/ dumps",
        "/ loads",
    ]
    return f"""## On the wire

Bytes of a signed batch over its reads, stamped in whole milliseconds, and as a multiple of what a perfect coder would
need (the entropy of the street as it is drawn, plus signature, hash of the batch before and epoch, which nothing can
shorten). The same reads as the nearest peer publishes them (ThingsBoard's gateway JSON, unsigned) over ours; as plain
JSON objects, and those compressed. Then microseconds a read to encode and sign and to verify and decode, and both as
multiples of `json.dumps` and `json.loads` of the same reads, which sign and check nothing.

{_table(head, rows)}"""


def _month(section: dict[str, Any]) -> str:
    rows: list[list[object]] = [
        [
            name.replace("_", " "),
            case["signed_bytes_per_batch"],
            case["wire_bytes_per_batch"],
            case["mb_per_month_batches_and_acks"],
            case["mb_per_month_keepalive"],
            case["mb_per_month_tls_and_mqtt"],
            case["mb_per_month_with_tcp_ip_headers"],
        ]
        for name, case in section["cases"].items()
    ]
    head = [
        "250 meters", "bytes signed", "on the wire", "MB batches", "MB keepalive", "MB TLS and MQTT", "MB with headers",
    ]  # fmt: skip
    return f"""## A collector's month

Mutual TLS to a real broker through a counting proxy: a batch's bytes with its ack, both directions. Measured on 48
batches, extrapolated to 30 days with a keepalive every {section["keepalive"]["every_s"]} s and a new connection a day.
Headers are 40 bytes for each TCP segment; the columns of batches and keepalive include them.

{_table(head, rows)}"""


def _buffer(section: dict[str, Any]) -> str:
    slow = section["appends_with_20_ms_sync"]
    appends: list[list[object]] = [
        [name.removeprefix("groups_of_"), row["reads_per_s"], row["over_raw"], slow[name]["reads_per_s"]]
        for name, row in section["appends"].items()
    ]
    flash: list[list[object]] = [
        [name.split("_")[2], row["bytes_written_per_read"], row["mb_written_per_day"]]
        for name, row in section["flash"].items()
        if isinstance(row, dict)
    ]
    return f"""## The collector's store

Reads a second through `Store.append` with synchronous=FULL, by how many are committed together; as a share of a bare
SQLite table without index in the same run; and with 20 ms added to each sync, as on a slow card.

{_table(["reads a commit", "reads a second", "share of bare SQLite", "with 20 ms a sync"], appends)}

What 250 meters at 15 minutes write to flash, sealing and acks included. A slow line commits each read for itself (the
window is one second), a fast one a whole round.

{_table(["reads a commit", "bytes written a read", "MB a day"], flash)}"""


def _ingest(section: dict[str, Any]) -> str:
    rows: list[list[object]] = []
    for database, name in (("sqlite", "SQLite"), ("postgresql", "PostgreSQL")):
        if isinstance(section[database], str):
            rows.append([name, section[database], "", "", "", ""])
            continue
        rows += [
            [name, row["reads"], row["reads_per_s"], row["raw_reads_per_s"], row["over_raw"],
             row["verify_and_decode_share"]]
            for row in section[database].values()
        ]  # fmt: skip
    head = ["database", "reads a batch", "reads a second", "raw load", "share of raw", "of it verify, decode"]
    return f"""## Ingest at the portal

One process, signed batches through `apply_batch` to the signed ack; the raw load is COPY (SQLite: executemany) of the
same rows into a table of the same shape and index, in the same run.

{_table(head, rows)}"""


def _storage(section: dict[str, Any]) -> str:
    found = {name: section[name] for name in ("sqlite", "postgresql") if isinstance(section[name], dict)}
    any_row = next(iter(found.values()))
    names = {
        "recent_read_bytes_per_read": "a row of an open day",
        "register_day_bytes_per_read": "folded into its day",
        "daily_volume_bytes_per_read": "daily volumes",
        "stored_batch_bytes_per_read": "signed batches, verbatim",
        "all_tables_bytes_per_read": "all of it after folding",
        "fold_us_per_read": "folding, us a read",
    }
    rows: list[list[object]] = [[text, *(row[key] for row in found.values())] for key, text in names.items()]
    titles = [{"sqlite": "SQLite", "postgresql": "PostgreSQL"}[name] for name in found]
    return f"""## On the portal's disk

Bytes a read with indexes, after VACUUM: {any_row["meters"]} meters, {any_row["days"]} days of 15-minute reads in
hourly batches.

{_table(["", *titles], rows)}"""


def _gateway(section: dict[str, Any]) -> str:
    rows: list[list[object]] = [
        ["resident memory", f"{section['resident_mib']} MiB of {section['budget_mib']} MiB"],
        ["at its peak", f"{section['peak_resident_mib']} MiB"],
        ["meters read a second", section["meters_read_per_s"]],
        ["register reads a second", section["register_reads_per_s"]],
        ["processor time a register read", f"{section['cpu_us_per_register_read']:g} us"],
        ["share of one core", f"{section['cpu_share_of_a_core'] * 100:.3g} %"],
    ]
    return f"""## A running collector

`headwater gateway run` on 50 simulated Modbus TCP meters read every second, with leak detection, store and uplink over
mutual TLS.

{_table(["", ""], rows)}{rates_table(section["rates"]) if "rates" in section else ""}"""


def rates_table(rates: dict[str, Any]) -> str:
    """Return what a read costs at each rate, beside the peer where it ran."""
    rows: list[list[object]] = []
    for rate, name in (("100", "100"), ("1000", "1,000")):
        if rate not in rates:
            continue
        ours, peer = rates[rate], rates[rate]["peer"]
        rows += [_rate_row(f"{name} a second", ours), ["... nothing to send to", ours["cpu_ms_per_read_without_uplink"],
                 "", ours["resident_mib_without_uplink"], "", ""]]  # fmt: skip
        rows.append(_rate_row("... the peer", peer) if isinstance(peer, dict) else [f"... the peer: {peer}", *[""] * 5])
    head = ["reads", "ms of processor a read", "share of one core, %", "resident MiB", "slots served", "lost"]
    return f"""

{rates["meters"]} meters with one total behind one Modbus TCP endpoint, read once or ten times a second; every reply is
counted by the meters and compared with what was stored. The peer is ThingsBoard Gateway 3.8.5 with its SQLite storage
on the same meters, in the same run.

{_table(head, rows)}"""


def _rate_row(name: str, row: dict[str, Any]) -> list[object]:
    return [name, row["cpu_ms_per_read"], row["cpu_percent"], row["resident_mib"], row["slots_served"], row["lost"]]


_SECTIONS = {
    "wire": _wire,
    "month": _month,
    "buffer": _buffer,
    "ingest": _ingest,
    "storage": _storage,
    "gateway": _gateway,
}


def main() -> int:
    """Write the page and keep the figures beside it."""
    figures = json.load(sys.stdin)
    text = render(figures)
    FIGURES.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
