"""Writes docs/reference/cli.md from the commands themselves: `python -m tests.house.cli_page`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from headwater.cli import COMMANDS, root

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "cli.md"
HEAD = """# Commands

Made from the commands themselves by `python -m tests.house.cli_page`; a test compares. Every command has `--json`
where it prints data, and exits as [exit-codes.md](exit-codes.md) says.
"""


def commands() -> Iterator[tuple[str, click.Command]]:
    """Yield every command with its full name, groups before their members."""
    context = click.Context(root)
    for name in sorted(COMMANDS):
        command = root.get_command(context, name)
        assert command is not None
        yield from _below(f"headwater {name}", command)


def _below(name: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    yield name, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for sub in command.list_commands(context):
            member = command.get_command(context, sub)
            assert member is not None
            yield from _below(f"{name} {sub}", member)


def render() -> str:
    """Return the whole page."""
    parts = [HEAD]
    above = click.Context(root, **root.context_settings)
    for name, command in commands():
        context = click.Context(command, above, name, max_content_width=110, terminal_width=110)
        depth = "#" * min(4, len(name.split()))
        parts.append(f"{depth} `{name}`\n\n```\n{command.get_help(context)}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
