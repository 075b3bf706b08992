"""`make bench`: one JSON object of figures on stdout, progress on stderr.

python -m tests.bench [--only NAME]... [--quick]    `--only billing`, `--only pages`: a city, many minutes each
python -m tests.bench --only pages [--meters N] [--days N] [--viewers N]    a smaller city
"""

from __future__ import annotations

import argparse
import importlib
import json
import signal
import sys
import tempfile
import time
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.bench.measure import machine, rounded, say

SECTIONS = ("wire", "month", "buffer", "ingest", "storage", "gateway")
BY_NAME = ("billing", "pages")
"""Sections that take many minutes: measured only when asked for."""
PAGES_SIZES = ("meters", "days", "viewers")
_MODULES = {
    "wire": "tests.bench.wire",
    "month": "tests.bench.month",
    "buffer": "tests.bench.buffering",
    "ingest": "tests.bench.ingesting",
    "storage": "tests.bench.storing",
    "gateway": "tests.bench.running",
    "billing": "tests.bench.billing",
    "pages": "tests.bench.pages",
}


def main(arguments: list[str]) -> int:
    """Run the sections one after the other; a section that fails says so and the others go on."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument(
        "--only", action="append", choices=(*SECTIONS, *BY_NAME), help="only this section; may be repeated"
    )
    parser.add_argument("--quick", action="store_true", help="small sizes: does it run, not how fast")
    for size in PAGES_SIZES:
        parser.add_argument(f"--{size}", type=int, help="for `pages`")
    asked = parser.parse_args(arguments)
    sizes = {"pages": {size: getattr(asked, size) for size in PAGES_SIZES}}
    chosen = [*(asked.only or SECTIONS)]
    began, failed = time.monotonic(), []
    with tempfile.TemporaryDirectory(prefix="headwater-bench-") as name:
        folder = Path(name)
        figures: dict[str, Any] = {
            "command": " ".join(["python -m tests.bench", *arguments]),
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "quick": asked.quick,
            "machine": machine(folder),
        }
        for section in chosen:
            figures[section] = run_section(section, folder / section, quick=asked.quick, **sizes.get(section, {}))
            if "error" in figures[section]:
                failed.append(section)
    figures["took_s"] = rounded(time.monotonic() - began)
    json.dump(figures, sys.stdout, indent=2)
    sys.stdout.write("\n")
    return 1 if failed else 0


def run_section(section: str, folder: Path, *, quick: bool, **sizes: int | None) -> dict[str, Any]:
    """Return a section's figures, or what went wrong with it."""
    say(section)
    folder.mkdir()
    began = time.monotonic()
    try:
        found: dict[str, Any] = importlib.import_module(_MODULES[section]).run(folder, quick=quick, **sizes)
    except Exception as error:
        say(f"{section} failed:\n{traceback.format_exc()}")
        found = {"error": f"{type(error).__name__}: {error}"}
    return {"took_s": rounded(time.monotonic() - began), **found}


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that folders and servers go away
    sys.exit(main(sys.argv[1:]))
