"""Imports a file: a dry run that lists everything, and the same again that writes it, in one transaction."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from portal.core.clock import now
from portal.core.errors import Refused
from portal.core.services import audit
from portal.importing import (
    accounts,
    agreements,
    balances,
    cycles,
    installations,
    meters,
    occupancies,
    payments,
    premises,
    reads,
    users,
)
from portal.importing.columns import Findings, read_rows
from portal.importing.csv_file import read_csv
from portal.importing.errors import ImportRefused
from portal.importing.kind import By, Kind, Outcome
from portal.importing.report import Report

if TYPE_CHECKING:
    from portal.core.models import User

KINDS: dict[str, Kind] = {
    module.KIND.name: module.KIND
    for module in (
        cycles,
        accounts,
        premises,
        meters,
        installations,
        occupancies,
        agreements,
        balances,
        payments,
        reads,
        users,
    )
}
"""In the order in which a utility imports them: each speaks of those before it."""


def kind_named(name: str) -> Kind:
    """Return one kind; raises Refused(`kind`)."""
    if name not in KINDS:
        raise Refused(
            "kind", _("“%(name)s” cannot be imported; there are: %(names)s") % {"name": name, "names": ", ".join(KINDS)}
        )
    return KINDS[name]


def check(kind: str, data: bytes, *, file: str = "") -> Report:
    """Return what importing a file would do; nothing is written. raises ImportRefused for what is no table."""
    return _look(kind_named(kind), data, file)[0]


def apply(kind: str, data: bytes, *, file: str = "", actor: User | None = None, label: str = "") -> Report:
    """Import a file: all of it or, when anything is wrong with it, nothing. Again changes nothing.

    raises  ImportRefused with the report when there are problems.
    """
    by = By(actor, label, now())
    try:
        with transaction.atomic():
            report, outcome = _look(kind_named(kind), data, file)
            if report.problems:
                text = _(
                    "%(file)s: %(n)d problems; nothing was imported. Correct the file, or the portal, and try again."
                )
                raise ImportRefused(text % {"file": file or kind, "n": len(report.problems)}, report)
            outcome.write(by)
            detail = {**report.as_json(), "applied": True}
            for left_out in ("problems", "notes"):
                detail.pop(left_out)
            audit("import.apply", actor=actor, label=label, detail=detail)
    except IntegrityError as error:
        text = _("somebody changed the same rows in the meantime; nothing was imported. Look at it again (dry run).")
        raise ImportRefused(text) from error
    return replace(report, applied=True)


def template(kind: str) -> str:
    """Return an example of a file: the header and one line. It starts with a mark by which Excel knows UTF-8."""
    found = kind_named(kind)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow([*(column.name for column in found.columns), *(name for name, _example in found.extra_examples)])
    writer.writerow(
        [*(column.example for column in found.columns), *(example for _name, example in found.extra_examples)]
    )
    return "\ufeff" + text.getvalue()


def _look(kind: Kind, data: bytes, file: str) -> tuple[Report, Outcome]:
    table = read_csv(data)
    findings = Findings()
    findings.notes += table.notes
    rows = read_rows(table, kind.columns, findings, extra=kind.extra)
    outcome = kind.compare(rows, findings) if rows else Outcome()
    if not table.rows:
        findings.notes.append(_("There is no line below the header."))
    report = Report(
        kind=kind.name,
        file=file,
        digest=table.digest,
        encoding=table.encoding,
        separator=table.separator,
        rows=len(table.rows),
        new=outcome.new,
        changed=outcome.changed,
        unchanged=outcome.unchanged,
        problems=tuple(sorted(findings.problems, key=lambda problem: problem.line)),
        notes=tuple(findings.notes),
        totals=outcome.totals,
    )
    return report, outcome


def history(limit: int = 20) -> list[dict[str, Any]]:
    """Return what was imported last, the newest first: at, who, and the report's figures."""
    from portal.core.models import AuditEntry

    entries = AuditEntry.objects.filter(action="import.apply").select_related("actor").order_by("-at", "-pk")[:limit]
    return [
        {"at": entry.at, "who": entry.actor.get_full_name() if entry.actor else entry.actor_label, **entry.detail}
        for entry in entries
    ]
