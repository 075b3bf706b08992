"""`headwater portal ...`: run and look after the utility's portal. Bodies import Django only when they run."""

from __future__ import annotations

import json
import os
from typing import Any

import click


def _django() -> None:
    """Make Django ready; configuration faults come out as ConfigError, exit code 3."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.config.settings")
    import django

    django.setup()


def _print(result: dict[str, Any], *, as_json: bool, text: str) -> None:
    click.echo(json.dumps(result) if as_json else text)


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group()
def portal() -> None:
    """Run and look after the utility's portal."""


@portal.command()
@json_option
def init(as_json: bool) -> None:
    """Make directories, keys, certificate authority and database tables; run it again at every upgrade."""
    from portal.setup import prepare_state_directory

    prepare_state_directory()
    _django()
    from portal.setup import initialise

    done = initialise()
    _print(done, as_json=as_json, text=f"The portal's state is ready in {done['portal_dir']}.")


@portal.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def manage(arguments: tuple[str, ...]) -> None:
    """Run one of Django's management commands, such as `shell` or `createsuperuser`."""
    _django()
    from django.core.management import execute_from_command_line

    execute_from_command_line(["headwater portal manage", *arguments])
