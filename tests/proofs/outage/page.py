"""docs/proofs/outage.md from a run's figures: `--page`, or `python -m tests.proofs.outage.page FILE` afterwards."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tests.proofs.outage import table
from tests.proofs.outage.plan import CELLS

FOLDER = Path(__file__).resolve().parents[3] / "docs" / "proofs"


def render(figures: dict[str, Any]) -> str:
    """Return the page of a run."""
    rows = figures["rows"]
    peer = f"{figures['peer']}."
    if any(row["side"] == "peer" for row in rows):
        peer = table.markdown(rows, "peer")
    parts = [_head(figures), _how(figures), "## Headwater", table.markdown(rows, "headwater"), _verdict(rows)]
    parts += ["## ThingsBoard Gateway 3.8.5", peer, _beside(rows), _LIMITS]
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(figures: dict[str, Any]) -> str:
    machine = figures["machine"]
    short = figures["seconds_scale"]
    scale = "" if short == 1 else f"\nWaits were shortened to {short:g} of the plan."
    return f"""# What an outage costs

Written by `python -m tests.proofs.outage --page` on {figures["at"][:10]} in {figures["took_s"] / 60:.0f} min.{scale}
Machine: {machine["cores"]} cores ({machine["cpu"]}), {machine["kernel"]}, Python {machine["python"]},
SQLite {machine["sqlite"]}, {machine["filesystem"]} with a sync of 4 KiB in {machine["sync_ms"]} ms;
portal on {figures["database"]}. One-minute load average when the run began: {machine["load_average_1_min"]:.1f}."""


def _how(figures: dict[str, Any]) -> str:
    plan = "\n".join(
        f"| {cell.what} | {cell.meters} meters, each {cell.every_s:g} s | "
        f"{f'{cell.kill_at_s:g} s' if cell.kill_at_s else '-'} |"
        for cell in CELLS
    )
    window = f"one commit window ({figures['window_s']:g} s, and {figures['slack_s']:g} s for the commit itself)"
    return f"""## How it was counted

A bank of simulated Modbus TCP meters adds 1 to a meter's total at every read and writes down every reply before it
looks at the next request. So each total exists once: one that was served and did not arrive is a lost read, one that
arrived twice was counted twice, and neither side's own word is needed. Each cell is warm for 20 s, has its outage of
60 s, goes on for 10 s, then the meters fall silent and what waits may arrive.

- **stopped**: the broker ends and its connections close. **dead link**: the broker is stopped in the middle of its work
  (SIGSTOP); connections stay open and nothing answers. **fresh broker**: afterwards that broker is killed and another
  one without its sessions, subscriptions and messages starts on its port (the peer's keeps the platform's subscription,
  so that what is lost there the gateway has lost).
- **gateway killed**: SIGKILL, and started again at once.
- Headwater is `headwater gateway run`, Mosquitto as `headwater portal broker-config` writes it (mutual TLS, access
  rules), `headwater portal ingest`, and `headwater portal reads list` for what the portal holds. Batches are sealed
  each 5 s, so that the times of the cells are those of the published measurement of the peer; the default is 5 min.
- ThingsBoard Gateway runs in an environment of its own from `requirements/peer.txt`, clear text on loopback, QoS 1.

| cell | bank | gateway killed at |
|---|---|---|
{plan}

Columns: **served** replies that left the meters; **appended** reads whose append returned (the collector's append log);
**lost** appended and not at the portal; **lost by count** served, not there, and no kill explains it; **cut off by
kill** served at most {window} before the
kill, and not yet appended: that is the stated loss window; **twice** arrivals beyond the first; **CPU** of the
gateway process while it reads, without kills; **RSS** at the end of reading; **B/read** payload bytes of messages with
readings that the broker received (its own log), repeats and signatures included; **waited** what the collector still
had to deliver when the outage ended; **longest pause** in which no meter was read."""


def _verdict(rows: list[dict[str, Any]]) -> str:
    ours = [row for row in rows if row["side"] == "headwater" and not row.get("skipped")]
    if all(row.get("flawless") for row in ours):
        return f"Lost 0 and counted twice 0 in each of the {len(ours)} cells."
    wrong = [row["cell"] for row in ours if not row.get("flawless")]
    return f"**Not as it must be:** {', '.join(wrong)}."


def _beside(rows: list[dict[str, Any]]) -> str:
    found = table.beside(rows)
    if not found:
        return ""
    lines = [
        "Headwater over the peer (SQLite storage), same bank, same machine:",
        "",
        "| cell | CPU per read | RSS | B/read |",
    ]
    lines.append("|---|---|---|---|")
    for cell, ratios in found.items():
        shown = [
            f"{ratios[key]:g}" if key in ratios else "-"
            for key in ("cpu_ms_per_read", "resident_mib", "bytes_per_read")
        ]
        lines.append("| " + " | ".join([next(c.what for c in CELLS if c.name == cell), *shown]) + " |")
    return "\n".join(lines)


_LIMITS = """## How far this goes

- One run a cell. The zeros are exact for that run; the simulation and the power-cut proof look for the ones that a
  single run does not meet. The peer's losses vary from run to run.
- The peer's platform is a stub that answers what a gateway asks at start. The real one overwrites a reading of the same
  key and time, so what comes twice there costs traffic and not necessarily a wrong sum. Headwater's portal is real.
- The peer keeps no record of what it appended, so only the count of the meters can be held against it; what a kill cut
  off within the same window is listed apart for it too.
- The peer speaks clear text here and Headwater TLS with signatures: that favours the peer's processor time.
- Other work on the machine costs both sides processor time a read, and it costs the peer reads: on a quiet machine of
  this size it was measured at about 900 reads/s of 1,000 offered, and 1.2 ms a read at 100 reads/s.
- Everything is on one machine over loopback. Cells of 10, 50 and 250 reads/s ran side by side with others (their
  processor share is an indication), those of 100 and 1,000 reads/s alone."""


def write(figures: dict[str, Any]) -> None:
    """Write the page and its figures into the documents."""
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / "outage.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    (FOLDER / "outage.md").write_text(render(figures), encoding="utf-8")


if __name__ == "__main__":
    write(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
