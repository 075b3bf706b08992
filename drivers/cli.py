"""`headwater decode` and `headwater drivers`: what a frame says, and what can be read."""

from __future__ import annotations

import codecs
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import click

_Command = TypeVar("_Command", bound=Callable[..., object])
_NOT_HEX = re.compile(r"0[xX]|[\s:,;-]")


def _json_option(command: _Command) -> _Command:
    """Add --json to a command."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


@click.group()
def decode() -> None:
    """Decode a meter's frame or registers by hand."""


@decode.command("mbus")
@click.argument("frame", nargs=-1, required=True, metavar="HEX|-")
@_json_option
def decode_mbus(frame: tuple[str, ...], as_json: bool) -> None:
    """Decode one M-Bus frame: hex digits, or - for hex or the raw bytes on standard input.

    A damaged frame prints no values and exits with 5; an application error is named and exits with 5.
    """
    from drivers.mbus_telegram import decode_telegram

    telegram = decode_telegram(_frame_bytes(frame))
    rows = [
        {
            "value": record.value_text(),
            "unit": record.unit,
            "storage": record.storage,
            "tariff": record.tariff,
            "function": record.function,
            "quantity": record.quantity,
            "index": record.index,
            "device": record.subunit,
            "modifiers": list(record.modifiers),
        }
        for record in telegram.records
    ]
    if as_json:
        _print_lines(rows)
        return
    header = telegram.header
    who = " ".join(filter(None, (header.manufacturer, header.identification, header.medium)))
    click.echo(f"{who or 'no header'}   address {telegram.address}   access {header.access_number}")
    if header.alarms:
        click.echo(f"alarms: {', '.join(header.alarms)}")
    _print_table(rows, ("index", "value", "unit", "quantity", "storage", "tariff", "device", "function"))


@decode.command("modbus")
@click.argument("registers", nargs=-1, required=True, metavar="WORDS|HEX|-")
@click.option("--map", "map_name", required=True, help="A model (see `headwater drivers list`) or a .toml file.")
@click.option("--start", type=int, help="Address of the first word, as the map counts.  [default: the total's]")
@_json_option
def decode_modbus(registers: tuple[str, ...], map_name: str, start: int | None, as_json: bool) -> None:
    """Decode register words by a register map: 1234 is hex, as is 12 34; 0x12 and 18 are words; - for standard input.

    A whole RTU reply (its CRC fits) is taken as such. Every value of the map that lies in the words is printed.
    """
    from drivers.modbus_decode import decode_words, words_of

    text = sys.stdin.read() if registers == ("-",) else " ".join(registers)
    try:
        words = words_of(text)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    rows = decode_words(map_name, words, start=start)
    if as_json:
        _print_lines(rows)
    else:
        _print_table(rows, ("address", "name", "value", "unit", "role", "count", "scale"))


@click.group()
def drivers() -> None:
    """List the meter protocols and models that can be read."""


@drivers.command("list")
@_json_option
def list_drivers(as_json: bool) -> None:
    """List the drivers, and the meter models that they have register maps for."""
    from drivers.overview import overview

    rows = overview()
    if as_json:
        click.echo(json.dumps(rows))
        return
    _print_table(rows, ("driver", "model", "meter", "total", "confidence"))


def _frame_bytes(arguments: tuple[str, ...]) -> bytes:
    """Return the bytes that hex arguments, or hex or raw bytes on standard input, stand for."""
    from drivers.errors import BadFrame

    if arguments != ("-",):
        text = _NOT_HEX.sub("", " ".join(arguments))
        if not re.fullmatch(r"[0-9A-Fa-f]*", text):
            raise click.UsageError("a frame is given as hex digits, or - for standard input")
    else:
        data: bytes = sys.stdin.buffer.read()
        text = _NOT_HEX.sub("", data.removeprefix(codecs.BOM_UTF8).decode("latin-1"))
        if not re.fullmatch(r"[0-9A-Fa-f]*", text):
            return data
    if len(text) % 2:
        raise BadFrame(f"{len(text)} hex digits are no whole bytes; the frame was cut")
    return bytes.fromhex(text)


def _print_lines(rows: Sequence[Mapping[str, object]]) -> None:
    sys.stdout.write("".join(json.dumps(row) + "\n" for row in rows))


def _print_table(rows: Sequence[Mapping[str, object]], columns: tuple[str, ...]) -> None:
    """Print rows in aligned columns; None is a dash."""
    texts = [[column for column in columns]]
    texts += [["-" if row.get(column) is None else str(row[column]) for column in columns] for row in rows]
    widths = [max(len(line[at]) for line in texts) for at in range(len(columns))]
    for line in texts:
        click.echo("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())
