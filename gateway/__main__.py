"""`python -m gateway`: the same as `headwater gateway`."""

from __future__ import annotations

import sys

import click

from domain.errors import HeadwaterError
from gateway.cli import gateway


def main() -> None:
    """Run the group; a named error is one message and its exit code."""
    try:
        gateway.main(prog_name="python -m gateway")
    except HeadwaterError as error:
        click.echo(str(error), err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
