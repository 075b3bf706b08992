"""The root command. Groups are loaded by dotted name on first use, so that a collector never imports Django."""

from __future__ import annotations

import importlib
import json
import sys
import traceback
from collections.abc import Mapping
from importlib.metadata import version
from typing import NoReturn

import click

from domain.errors import HeadwaterError

COMMANDS: Mapping[str, tuple[str, str]] = {
    "decode": ("drivers.cli:decode", "Decode a meter's frame or registers by hand."),
    "demo": ("headwater.demo.cli:demo", "Run the whole system on this machine, from simulated meters to the portal."),
    "drivers": ("drivers.cli:drivers", "List the meter protocols and models that can be read."),
    "gateway": ("gateway.cli:gateway", "Run and look after a collector."),
    "leak": ("gateway.cli.leak:leak", "Try leak detection on recorded reads."),
    "portal": ("portal.cli:portal", "Run and look after the utility's portal."),
    "rates": ("rates.cli:rates", "Check, price and explain rate files."),
    "sim": ("firmware_sim.cli:sim", "Start simulated meters."),
}


class DottedGroup(click.Group):
    """A click group whose commands are imported when they are first asked for."""

    def __init__(self, *args: object, commands_by_name: Mapping[str, tuple[str, str]], **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self.commands_by_name = commands_by_name

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names, without importing anything."""
        return sorted({*self.commands_by_name, *super().list_commands(ctx)})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command."""
        if cmd_name not in self.commands_by_name:
            return super().get_command(ctx, cmd_name)
        module_name, _, attribute = self.commands_by_name[cmd_name][0].partition(":")
        try:
            command = getattr(importlib.import_module(module_name), attribute)
        except ModuleNotFoundError as error:
            missing = error.name or module_name
            raise click.ClickException(
                f"this machine lacks the Python package {missing!r} that `{cmd_name}` needs; "
                f"install headwater[{'portal' if cmd_name in ('demo', 'portal', 'rates') else 'edge'}]"
            ) from error
        if not isinstance(command, click.Command):
            raise TypeError(f"{module_name}:{attribute} is not a command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands from the table's one-line helps."""
        rows = [(name, self.commands_by_name[name][1]) for name in sorted(self.commands_by_name)]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


@click.group(cls=DottedGroup, commands_by_name=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("headwater"), prog_name="headwater")
def root() -> None:
    """From the water meter to the paid bill."""


def main(argv: list[str] | None = None) -> None:
    """Run the command; turn every error that Headwater can name into one message and its exit code.

    With `--json` anywhere on the line every error, a mistyped command line included, is one JSON object on standard
    error.
    """
    arguments = sys.argv[1:] if argv is None else argv
    as_json = "--json" in arguments
    try:
        # Outside its stand-alone mode click raises what it would print; what it returns then is the exit code or None.
        code = root.main(args=arguments, prog_name="headwater", standalone_mode=False)
    except HeadwaterError as error:
        _end(error.as_json() if as_json else str(error), error.exit_code)
    except click.ClickException as error:
        if not as_json:
            error.show()
            sys.exit(error.exit_code)
        wrong = {"error": type(error).__name__, "message": error.format_message(), "permanent": True}
        _end(wrong, error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        _end({"error": "Interrupted", "message": "interrupted", "permanent": False} if as_json else "interrupted", 130)
    except Exception as error:
        if not as_json:
            raise
        unforeseen = {"error": type(error).__name__, "message": str(error), "permanent": False}
        _end({**unforeseen, "traceback": traceback.format_exc()}, 1)
    sys.exit(code if isinstance(code, int) else 0)


def _end(message: dict[str, object] | str, exit_code: int) -> NoReturn:
    click.echo(message if isinstance(message, str) else json.dumps(message), err=True)
    sys.exit(exit_code)


if __name__ == "__main__":
    main()
