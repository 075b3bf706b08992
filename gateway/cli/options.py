"""Options that the commands of the collector share, and how they print."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.config import GatewayConfig

_F = TypeVar("_F", bound="Callable[..., Any]")


def config_option(command: _F) -> _F:
    """Add --config; without it ./collector.toml or /etc/headwater/collector.toml."""
    return click.option(
        "--config",
        "config_path",
        type=click.Path(path_type=Path, dir_okay=False),
        help="collector.toml  [default: ./collector.toml, then /etc/headwater/collector.toml]",
    )(command)


def json_option(command: _F) -> _F:
    """Add --json."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else.")(command)


def load(config_path: Path | None, *, key_files: bool = False) -> GatewayConfig:
    """Return the configuration; a technician's command does without the keys of the portal unless it needs them."""
    from gateway import config

    return config.load(config.find(config_path), key_files=key_files)


def echo_json(value: object) -> None:
    """Print one JSON object on one line."""
    click.echo(json.dumps(value))


def table(rows: Sequence[Sequence[str]], *, indent: str = "  ") -> str:
    """Return rows as aligned columns, two spaces apart."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))] if rows else []
    return "\n".join(
        indent + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def dial(count: int, scale: int, unit: str) -> str:
    """Return a count as a person reads it off the dial, exact: 123456 at scale -3 is `123.456 m3`."""
    from decimal import Decimal

    return f"{Decimal(count).scaleb(scale):f} {unit}"
