"""Errors of imports, a part of the portal's branch.

PortalError
  ImportRefused   exit 3: a file that cannot be read, or has problems; all of them are in the report
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from portal.core.errors import Refused

if TYPE_CHECKING:
    from portal.importing.report import Report


class ImportRefused(Refused):
    """A file that was not taken: nothing of it was written.

    report  every problem; None when the file could not even be read as a table.
    """

    exit_code = 3

    def __init__(self, message: str, report: Report | None = None) -> None:
        super().__init__("import", message)
        self.report = report

    def as_json(self) -> dict[str, object]:
        """Return the error with its report."""
        return {**super().as_json(), **({"report": self.report.as_json()} if self.report else {})}
