"""Rows as tables: one for each side, in text for a terminal and in Markdown for the page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.proofs.outage.plan import BY_NAME

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Row = dict[str, Any]


def _number(key: str) -> Callable[[Row], str]:
    def shown(row: Row) -> str:
        value = row.get(key)
        if value is None:
            return "-"
        return f"{value:,}" if isinstance(value, int) else f"{value:,.10g}"

    return shown


def _share(key: str) -> Callable[[Row], str]:
    def shown(row: Row) -> str:
        value = row.get(key)
        if value and row.get("served"):
            return f"{value:,} ({100 * value / row['served']:.1f} %)"
        return _number(key)(row)

    return shown


_COMMON: Sequence[tuple[str, Callable[[Row], str]]] = (
    ("cut off by kill", _number("cut_off")),
    ("twice", _number("double")),
    ("reads/s", _number("reads_per_s")),
    ("CPU %", _number("cpu_percent")),
    ("ms/read", _number("cpu_ms_per_read")),
    ("RSS MiB", _number("resident_mib")),
    ("B/read", _number("bytes_per_read")),
)
_COLUMNS: dict[str, Sequence[tuple[str, Callable[[Row], str]]]] = {
    "headwater": (
        ("served", _number("served")),
        ("appended", _number("appended")),
        ("at the portal", _number("received")),
        ("lost", _share("lost")),
        ("lost by count", _share("lost_by_count")),
        *_COMMON,
        ("waited", _number("waiting_at_end_of_outage")),
        ("longest pause s", _number("longest_gap_s")),
    ),
    "peer": (
        ("storage", lambda row: row["storage"]),
        ("served", _number("served")),
        ("at the platform", _number("received")),
        ("lost by count", _share("lost_by_count")),
        *_COMMON,
    ),
}


def cells_of(rows: Sequence[Row], side: str) -> tuple[list[str], list[list[str]]]:
    """Return the head and the lines of one side's table; a cell that did not run is a line that says why."""
    columns = _COLUMNS[side]
    head = ["cell", *(name for name, _ in columns)]
    lines = []
    for row in rows:
        if row["side"] != side:
            continue
        name = BY_NAME[row["cell"]].what
        if "error" in row:
            lines.append([name, f"did not run: {row['error']}"])
        else:
            lines.append([name, *(shown(row) for _, shown in columns)])
    return head, lines


def text(rows: Sequence[Row], side: str) -> str:
    """Return one side's table for a terminal."""
    head, lines = cells_of(rows, side)
    whole = [line for line in [head, *lines] if len(line) == len(head)]
    widths = [max(len(line[n]) for line in whole) for n in range(len(head))]
    shown = []
    for line in [head, *lines]:
        padded = [
            cell.ljust(w) if n == 0 else cell.rjust(w) for n, (cell, w) in enumerate(zip(line, widths, strict=False))
        ]
        shown.append("  ".join(padded).rstrip())
    return "\n".join(shown)


def markdown(rows: Sequence[Row], side: str) -> str:
    """Return one side's table for the page."""
    head, lines = cells_of(rows, side)
    wide = [[*line, *[""] * (len(head) - len(line))] for line in lines]
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, ["---"] * len(head), *wide])


def beside(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """Return ours over the peer's (with SQLite) for each cell that both sides ran alone on the machine."""
    found: dict[str, dict[str, float]] = {}
    for ours in rows:
        for peer in rows:
            if ours["side"] != "headwater" or peer["side"] != "peer" or ours["cell"] != peer["cell"]:
                continue
            if peer.get("storage") != "sqlite" or not BY_NAME[ours["cell"]].alone:
                continue
            both = {
                key: ours[key] / peer[key]
                for key in ("cpu_ms_per_read", "resident_mib", "bytes_per_read")
                if ours.get(key) and peer.get(key)
            }
            if "cpu_ms_per_read" in both:
                found[ours["cell"]] = {key: float(f"{value:.2g}") for key, value in both.items()}
    return found
