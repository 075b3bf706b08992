"""`headwater portal reconcile-bills`: registers, charts, bills and ledger compared."""

from __future__ import annotations

import json

import click


@click.command("reconcile-bills")
@click.option(
    "--charts",
    default=500,
    show_default=True,
    type=click.IntRange(0),
    help="Service points whose chart is drawn again by months; the others are compared at the bills' moments.",
)
@click.option("--all-charts", is_flag=True, help="Draw every chart again.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def reconcile_bills(charts: int, all_charts: bool, as_json: bool) -> None:
    """Compare every issued bill with registers, charts and ledger; exit code 9 when anything differs."""
    from portal.cli import _django

    _django()
    from portal.billing.reconcile import reconcile
    from portal.core.errors import ReconciliationDifference

    found = reconcile(charts=None if all_charts else charts)
    figures = (
        f"{found.bills} bills of {found.accounts} accounts at {found.service_points} service points, "
        f"{found.segments} segments, {found.boundaries} dial readings, {found.charts} charts, "
        f"{found.cents / 100:,.2f} billed"
    )
    click.echo(json.dumps(found.as_json()) if as_json else figures)
    if found.differences:
        if not as_json:
            for difference in found.differences:
                click.echo(f"  {difference}")
        raise ReconciliationDifference(
            f"{len(found.differences)} differences; look at each bill named above, correct what is wrong and rebill"
        )
    if not as_json:
        click.echo("Registers, charts, bills and ledger agree.")
