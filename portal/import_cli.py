"""`headwater portal import ...`: customers, meters, agreements and balances from files, with a dry run first."""

from __future__ import annotations

from pathlib import Path

import click

from portal.cli import _ACTOR, _django, _print, json_option

_KINDS = (
    "cycles",
    "accounts",
    "premises",
    "meters",
    "installations",
    "occupancies",
    "agreements",
    "balances",
    "payments",
    "reads",
    "users",
)


@click.group("import")
def import_group() -> None:
    """Import a CSV file: first a dry run that lists every problem, then with --apply in one transaction.

    In this order: cycles, accounts, premises, meters, installations, occupancies, agreements, balances, payments,
    reads, users.
    """


def _command(kind: str) -> click.Command:
    @click.command(kind, help=f"Import {kind} from FILE; without --apply only look and report.")
    @click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
    @click.option("--apply", "write", is_flag=True, help="Write it, if nothing is wrong with it.")
    @json_option
    def command(file: Path, write: bool, as_json: bool) -> None:
        import_file(kind, file, write=write, as_json=as_json)

    return command


for _kind in _KINDS:
    import_group.add_command(_command(_kind))


@import_group.command()
@click.argument("kind", type=click.Choice(_KINDS))
@json_option
def template(kind: str, as_json: bool) -> None:
    """Print a file of KIND with all columns and one line as an example."""
    _django()
    from portal.importing.services import kind_named
    from portal.importing.services import template as template_of

    columns = [{"name": c.name, "required": c.required, "about": c.about} for c in kind_named(kind).columns]
    _print(
        {"kind": kind, "columns": columns, "csv": template_of(kind)},
        as_json=as_json,
        text=template_of(kind).strip("\r\n"),
    )


def import_file(kind: str, file: Path, *, write: bool, as_json: bool) -> None:
    """Look at a file of one kind, or write it, and say what came of it."""
    _django()
    from portal.importing.errors import ImportRefused
    from portal.importing.report import Report
    from portal.importing.services import apply, check

    data = file.read_bytes()
    report: Report
    try:
        report = apply(kind, data, file=file.name, label=_ACTOR) if write else check(kind, data, file=file.name)
    except ImportRefused as refused:
        if refused.report is not None and not as_json:
            _say(refused.report)
        raise
    if not as_json:
        _say(report)
    if report.problems:
        raise ImportRefused(f"{file.name}: {len(report.problems)} problems; correct them before --apply", report)
    if as_json:
        _print(report.as_json(), as_json=True, text="")


def _say(report: Report) -> None:  # type: ignore[name-defined]  # noqa: F821
    """Print a report for a person."""
    click.echo(
        f"{report.file}: {report.rows} lines of {report.kind}, {report.encoding}, {report.separator} between cells"
    )
    for note in report.notes:
        click.echo(f"  note: {note}")
    for problem in report.problems:
        click.echo(f"  {problem}")
    figures = f"{report.new} new, {report.changed} changed, {report.unchanged} unchanged"
    for name, amount in report.totals.items():
        figures += f", {name} {amount}"
    done = (
        "imported" if report.applied else "nothing was written; add --apply to import it" if not report.problems else ""
    )
    click.echo(f"  {figures}" + (f": {done}" if done else ""))
