"""`headwater rates ...`: check, price and explain rate files."""

from __future__ import annotations

import click

FILES = click.argument("files", nargs=-1, required=True, metavar="FILE...")
FILE = click.argument("file", metavar="FILE")
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
ON = click.option("--on", "on_text", metavar="DATE", help="Day whose rates hold.  [default: today]")


@click.group()
def rates() -> None:
    """Check, price and explain rate files.

    Both formats are read: our own (`format: headwater-rates/1`) and the Open Water Rate Specification (OWRS).
    """


@rates.command("check")
@FILES
@JSON
def check(files: tuple[str, ...], as_json: bool) -> None:
    """Check rate files; every fault is printed with its file and line, and the command exits with 3."""
    from rates.asking import check_files

    check_files(files, as_json=as_json)


@rates.command("quote")
@FILE
@click.option("--class", "rate_class", required=True, metavar="C", help="Rate class.")
@ON
@click.option("--month", type=click.IntRange(1, 12), help="Month of the bill.  [default: that of the day]")
@click.option("--input", "inputs", multiple=True, metavar="NAME=VALUE", help="What prices depend on; repeat it.")
@click.option("--days", type=click.IntRange(0), help="Days of the part that is priced.  [default: all]")
@click.option("--full-days", type=click.IntRange(1), help="Days of the full period.  [default: 30]")
@click.option("--turn-on", multiple=True, metavar="SERVICE.CODE", help="Price a line that is off in the file as well.")
@JSON
def quote(
    file: str,
    rate_class: str,
    on_text: str | None,
    month: int | None,
    inputs: tuple[str, ...],
    days: int | None,
    full_days: int | None,
    turn_on: tuple[str, ...],
    as_json: bool,
) -> None:
    """Say what a bill comes to.

    Our own files take the use as usage=N in billed units, or with its unit (usage_gal, usage_kgal, usage_ccf,
    usage_ft3, usage_m3, usage_l). OWRS files take the names that they use themselves: usage_ccf is in the file's own
    billing unit.
    """
    from rates.asking import Question, print_quote

    question = Question(rate_class, on_text, month, inputs, days, full_days, turn_on)
    print_quote(file, question, as_json=as_json)


@rates.command("explain")
@FILE
@click.option("--class", "rate_class", metavar="C", help="Rate class.  [default: all]")
@ON
@click.option("--language", type=click.Choice(["en", "es"]), default="en", show_default=True, help="Language.")
@JSON
def explain(file: str, rate_class: str | None, on_text: str | None, language: str, as_json: bool) -> None:
    """Say the prices of a file in plain words."""
    from rates.asking import print_explanation

    print_explanation(file, rate_class, on_text, language, as_json=as_json)
