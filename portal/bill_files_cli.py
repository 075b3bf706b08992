"""`headwater portal bill pdf | pdfs | print`: bills as files. Bodies import Django only when they run."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from portal.billing.models import Bill, BillRun

_ACTOR = "command line"
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_folder = click.option(
    "-o", "--output", "folder", required=True, type=click.Path(path_type=Path, file_okay=False), help="Where to."
)


def attach(group: click.Group) -> None:
    """Add the commands to `headwater portal bill`."""
    for command in (pdf_command, pdfs_command, print_command):
        group.add_command(command)


@click.command("pdf")
@click.argument("bill")
@click.option(
    "-o", "--output", "file", required=True, type=click.Path(path_type=Path, dir_okay=False), help="Where to."
)
@click.option("--language", type=click.Choice(["en", "es"]), help="Default: the account's.")
@_json
def pdf_command(bill: str, file: Path, language: str | None, as_json: bool) -> None:
    """Write BILL (its number or id) as a tagged PDF (PDF/UA-1); a draft says that it is a preview."""
    _django()
    from portal.billing.documents.facts import facts_of
    from portal.billing.documents.files import write_pdf

    facts = facts_of(_bill(bill))
    write_pdf(facts, file, language or "")
    done = {"bill": facts.public_id, "number": facts.number, "language": language or facts.language, "file": str(file)}
    _print(done, as_json=as_json, text=f"{facts.number or 'preview'} written to {file}")


@click.command("pdfs")
@click.argument("run")
@_folder
@click.option("--jobs", default=1, show_default=True, type=click.IntRange(1, 64), help="Processes at work.")
@click.option("--part", default="", hidden=True, help="K/N: only every N-th bill from the K-th on.")
@_json
def pdfs_command(run: str, folder: Path, jobs: int, part: str, as_json: bool) -> None:
    """Write every issued bill of RUN (its id, or its cycle's code) as a PDF; what is there already is kept."""
    _django()
    from portal.billing.documents.files import write_run, write_run_with

    row = _run(run)
    if part:
        found = re.fullmatch(r"(\d+)/(\d+)", part)
        if found is None or not int(found[1]) < int(found[2]):
            raise click.UsageError(f"--part {part}: expected such as 0/2")
        files = write_run(row, folder.absolute(), part=int(found[1]), parts=int(found[2]))
    else:
        files = write_run_with(row, folder.absolute(), jobs)
    done = {"run": row.public_id, "files": files, "folder": str(folder)}
    _print(done, as_json=as_json, text=f"{files} bills in {folder}")


@click.command("print")
@click.argument("run", required=False)
@_folder
@_json
def print_command(run: str | None, folder: Path, as_json: bool) -> None:
    """Write the paper bills of RUN for the printer: one PDF in the order of the route, and an address file.

    Without RUN: those of no run, such as corrected and final bills. Repeated, it writes the same files again. Letters
    that tell homes of a new sign-in go with whatever is printed next.
    """
    _django()
    import shutil

    from portal.billing.printing import print_run

    batches, lines = list[dict[str, Any]](), list[str]()
    for printed in print_run(_run(run) if run else None, label=_ACTOR):
        batch = printed.batch
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        names = {kind: f"{batch.made_at:%Y%m%d}-{batch.public_id}.{kind}" for kind in ("pdf", "csv")}
        shutil.copyfile(printed.pdf, folder / names["pdf"])
        shutil.copyfile(printed.addresses, folder / names["csv"])
        figures = {"bills": batch.bills, "letters": batch.letters, "sheets": batch.sheets}
        batches.append({"batch": batch.public_id, **figures, **names})
        with_letters = f" and {batch.letters} letters" if batch.letters else ""
        lines.append(f"{batch.bills} bills{with_letters} on {batch.sheets} sheets: {names['pdf']}, {names['csv']}")
    _print({"batches": batches}, as_json=as_json, text="\n".join(lines) or "no bill waits for paper")


def _django() -> None:
    from portal.cli import _django as ready

    ready()


def _print(result: dict[str, Any], *, as_json: bool, text: str) -> None:
    click.echo(json.dumps(result) if as_json else text)


def _bill(name: str) -> Bill:
    from portal.bill_cli import _bill as found

    return found(name)


def _run(name: str) -> BillRun:
    from portal.bill_cli import _run as found

    return found(name)
