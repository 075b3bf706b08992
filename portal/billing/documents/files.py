"""Bills as PDF files in a folder: a whole run by several processes, each of which may be killed and started again."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from portal.billing.documents.facts import BillFacts
from portal.billing.documents.pdf import render_pdf
from portal.billing.models import Bill
from portal.core.errors import PortalError

if TYPE_CHECKING:
    from pathlib import Path

    from portal.billing.models import BillRun

_CHUNK = 200


def write_pdf(facts: BillFacts, path: Path, language: str = "") -> None:
    """Write one bill's PDF, whole or not at all; in the account's language unless another is asked for."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(render_pdf(facts, language or facts.language))
    temporary.replace(path)


def write_run(run: BillRun, folder: Path, *, part: int = 0, parts: int = 1) -> int:
    """Write the issued bills of a run, every `parts`-th from `part` on; return how many were made.

    A file that lies there is left: the facts of an issued bill never change. A process that was killed goes on there.
    """
    ids = list(Bill.objects.filter(run=run, state=Bill.State.ISSUED).order_by("pk").values_list("pk", flat=True))
    mine = ids[part::parts]
    made = 0
    for first in range(0, len(mine), _CHUNK):
        rows = Bill.objects.filter(pk__in=mine[first : first + _CHUNK]).values_list("number", "facts", "state")
        for number, facts, state in rows:
            path = folder / f"{number}.pdf"
            if not path.exists():
                write_pdf(replace(BillFacts.from_json(facts), state=state), path)
                made += 1
    return made


def write_run_with(run: BillRun, folder: Path, jobs: int) -> int:
    """Write the issued bills of a run with several processes; return how many files of the run there are then.

    raises  PortalError when one of the processes failed: what was written stands, and the command can be repeated.
    """
    command = [sys.executable, "-m", "headwater", "portal", "bill", "pdfs", run.public_id, "-o", str(folder), "--json"]
    others = [
        subprocess.Popen([*command, "--part", f"{part}/{jobs}"], stdout=subprocess.DEVNULL)  # noqa: S603  our own
        for part in range(1, jobs)
    ]
    try:
        write_run(run, folder, part=0, parts=jobs)
    finally:
        failed = [process.pid for process in others if process.wait() != 0]
    if failed:
        raise PortalError(f"{len(failed)} of {jobs} processes failed; repeat the command: it goes on where it was")
    numbers = Bill.objects.filter(run=run, state=Bill.State.ISSUED).values_list("number", flat=True)
    return sum((folder / f"{number}.pdf").is_file() for number in numbers)
