"""headwater gateway run."""

from __future__ import annotations

import json
import logging
import signal
import sys
from pathlib import Path

import click

from gateway.cli.options import config_option, json_option


class _JsonLines(logging.Formatter):
    """A log line as one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = {"level": record.levelname.lower(), "logger": record.name, "message": record.getMessage()}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)


@click.command()
@config_option
@json_option
@click.option("--verbose", is_flag=True, help="Log each batch as well.")
@click.option("--die-with-parent", is_flag=True, help="Stop when the process that started this one ends.")
def run(config_path: Path | None, as_json: bool, verbose: bool, die_with_parent: bool) -> None:
    """Run the collector until SIGTERM or Ctrl-C. The log goes to standard error, with --json as JSON lines."""
    from gateway import config, timekeeping
    from gateway.reconfigure import run_collector

    if die_with_parent:
        timekeeping.die_with_parent(signal.SIGTERM)
    handler = logging.StreamHandler()
    handler.setFormatter(_JsonLines() if as_json else logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, handlers=[handler])
    code = run_collector(config.find(config_path))
    if code:
        sys.exit(code)
