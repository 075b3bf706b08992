"""headwater gateway enrol."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from gateway.cli.options import config_option, echo_json, json_option, load


@click.command()
@click.option("--portal", "portal_url", required=True, help="The portal's address: https://HOST[:PORT].")
@click.option("--code", required=True, help="The one-time code from the office.")
@click.option(
    "--ca", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="The portal's authority (PEM)."
)
@config_option
@json_option
def enrol(portal_url: str, code: str, ca: Path | None, config_path: Path | None, as_json: bool) -> None:
    """Make this collector's keys and enrol it at the portal with a one-time code.

    The keys are made here and never leave this machine. The configuration is written anew with its [portal] section
    (comments are not kept; the file as it was stays beside it as collector.toml.before-enrol).
    """
    from gateway import config as gateway_config
    from gateway.enrolment import enrol_collector

    path = gateway_config.find(config_path)
    config = load(path, key_files=False)
    done = enrol_collector(config, portal_url=portal_url, code=code.strip(), ca=ca)
    enrolled = replace(config, portal=done)
    gateway_config.save(enrolled, path)
    gateway_config.load(path, key_files=True)
    if as_json:
        echo_json(
            {
                "collector": str(config.collector.id),
                "broker": done.broker,
                "keys": str(done.key.parent if done.key else ""),
            }
        )
        return
    click.echo(f"collector {config.collector.id} is enrolled; it will send to {done.broker}")
    click.echo(f"  keys in {done.signing_key.parent}; [portal] written to {path}")
    click.echo("  next: headwater gateway run")
