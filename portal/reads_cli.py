"""`headwater portal reads ...`: what is held, what no collector brought, and what validation says of a period."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import click

from portal.cli import _django, _print, json_option


@click.group("reads")
def reads_group() -> None:
    """Print what is held, bring reads in from elsewhere, and look at what validation finds."""


@reads_group.command("list")
@json_option
def list_reads(as_json: bool) -> None:
    """Print every read in the read tables, one JSON object a line (in either form), for reconciliation."""
    _django()
    from portal.metering.reconcile import held_reads

    for read in held_reads():
        click.echo(json.dumps(read))


@reads_group.command("import")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--apply", "write", is_flag=True, help="Write them, if nothing is wrong with any.")
@json_option
def import_reads(file: Path, write: bool, as_json: bool) -> None:
    """Look at the reads in the CSV file FILE and list every problem with its line; with --apply enter them.

    The same file again changes nothing. It is what `headwater portal import reads` does.
    """
    from portal.import_cli import import_file

    import_file("reads", file, write=write, as_json=as_json)


@reads_group.command()
@click.option("--from", "start", required=True, help="First day of the period, such as 2026-06-01.")
@click.option("--to", "end", required=True, help="The day after its last one.")
@click.option("--record", is_flag=True, help="Write the findings to the work list.")
@json_option
def validate(start: str, end: str, record: bool, as_json: bool) -> None:
    """Run the rules of validation over every place with a meter, for one period."""
    _django()
    from portal.core.errors import Refused
    from portal.core.services import utility_zone
    from portal.customers.models import ServicePoint
    from portal.metering.calendar import midnight
    from portal.metering.validation.services import validate as validated

    zone = utility_zone()
    try:
        first, last = (midnight(date.fromisoformat(day), zone) for day in (start, end))
    except ValueError as error:
        raise Refused("day", f"{error}; write days as 2026-06-01") from error
    if first >= last:
        raise Refused("span", "the period is empty; --from must be before --to")
    places = ServicePoint.objects.filter(installations__isnull=False).distinct().order_by("pk")
    names = {row.pk: str(row) for row in places.select_related("premise")}
    found = validated(list(names), first, last, record=record)
    rows = [
        {"place": names[pk], "rule": f.rule, "severity": f.severity, "detail": f.detail, "accepted": f.accepted}
        for pk, findings in found.items()
        for f in findings
    ]
    text = [f"{row['severity']}  {row['rule']}  {row['place']}  {row['detail']}" for row in rows]
    text.append(f"{len(names)} places looked at, {sum(row['severity'] == 'hold' for row in rows)} holds")
    _print({"places": len(names), "findings": rows}, as_json=as_json, text="\n".join(text))
