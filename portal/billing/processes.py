"""Several processes at work on one run: each claims chunks of its own, and any of them may be killed."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from portal.billing.runs import CHUNK, continue_run
from portal.core.errors import PortalError

if TYPE_CHECKING:
    from portal.billing.models import BillRun
    from portal.core.models import User


def continue_with(
    run: BillRun, jobs: int = 1, *, chunk: int = CHUNK, actor: User | None = None, label: str = ""
) -> BillRun:
    """Go on with a run in this process and `jobs` - 1 others; return it when all of them are done.

    raises PortalError when one of the others failed: what it did stands, and the run can be continued.
    """
    command = [sys.executable, "-m", "headwater", "portal", "bill", "continue", run.public_id, "--chunk", str(chunk)]
    others = [
        subprocess.Popen([*command, "--json"], stdout=subprocess.DEVNULL)  # noqa: S603  our own program
        for _ in range(jobs - 1)
    ]
    try:
        run = continue_run(run, chunk=chunk, actor=actor, label=label)
    finally:
        failed = [process.pid for process in others if process.wait() != 0]
    if failed:
        raise PortalError(f"{len(failed)} of {jobs} processes failed; `headwater portal bill continue {run.public_id}`")
    # Another process may have ended after this one looked: whoever is last says that the run is calculated.
    return continue_run(run, chunk=chunk, actor=actor, label=label)
