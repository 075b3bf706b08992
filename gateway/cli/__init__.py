"""Commands of the collector, one file each; what a command needs is imported when it runs."""

from __future__ import annotations

import importlib
from collections.abc import Mapping

import click

_COMMANDS: Mapping[str, str] = {
    "check": "Check the configuration and say everything that is wrong with it.",
    "enrol": "Make this collector's keys and enrol it at the portal with a one-time code.",
    "plan": "Show what each bus has to carry, before anyone commits to it.",
    "read": "Read one meter now.",
    "run": "Run the collector.",
    "scan": "Look for meters on a bus.",
    "status": "Show how the collector is.",
    "watch": "Show reads as they come in.",
}


class _Group(click.Group):
    """Imports a command's module when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command."""
        if cmd_name not in _COMMANDS:
            return None
        command = getattr(importlib.import_module(f"gateway.cli.{cmd_name}"), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list without importing anything."""
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(cls=_Group)
def gateway() -> None:
    """Run and look after a collector."""
