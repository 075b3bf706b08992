"""`headwater portal messages ...`: what a mail server tells of messages that did not arrive, and who waits for one."""

from __future__ import annotations

from typing import IO, Any

import click

from portal.cli import _django, _print, json_option

_ACTOR = "command line"


@click.group("messages")
def messages_group() -> None:
    """Take delivery reports from a mail server, and count what is on its way."""


@messages_group.command("bounce")
@click.argument("file", type=click.File("rb"), default="-")
@json_option
def bounce(file: IO[bytes], as_json: bool) -> None:
    """Take one delivery report (RFC 3464) from FILE, or from standard input, as a mail server pipes it in.

    A message that it says will not arrive is marked, and its address gets no more until its owner confirms it. The same
    report again changes nothing; reports of messages that are not ours are told so and change nothing either.
    """
    _django()
    from portal.notifications.bounces import REPORT_BYTES_MAX, take_report

    found = take_report(file.read(REPORT_BYTES_MAX + 1), label=_ACTOR)
    rows = [
        {"message": one.public_id, "ours": one.known, "permanent": one.permanent, "reason": one.reason} for one in found
    ]
    words = {
        (True, True): "marked",
        (True, False): "only delayed",
        (False, True): "not ours",
        (False, False): "not ours",
    }
    lines = [f"{one.public_id or '-'}  {words[one.known, one.permanent]}  {one.reason}" for one in found]
    _print({"recipients": rows}, as_json=as_json, text="\n".join(lines) or "the report names no recipient")


@messages_group.command("count")
@json_option
def count(as_json: bool) -> None:
    """Count messages by state and channel: waiting, sent, not arrived, given up. Where none leave, say why."""
    _django()
    from portal.notifications.models import Channel, Message
    from portal.notifications.standstill import standstill
    from portal.notifications.states import IN, State

    held = standstill()
    rows: dict[str, Any] = {
        channel.value: {state.value: Message.objects.filter(IN[state], channel=channel).count() for state in State}
        for channel in Channel
    }
    lines = [
        f"{channel:6}{state:12}{number:8,}" for channel, states in rows.items() for state, number in states.items()
    ]
    told = None
    if held:
        told = {"waiting": held.waiting, "since": held.since.isoformat(), "server_said": held.server_said}
        told["worker_at"] = held.worker_at and held.worker_at.isoformat()
        worker = f"no worker has run since {told['worker_at']}" if held.worker_at else "no worker has run yet"
        lines.append(f"{held.waiting:,} wait, the oldest since {told['since']}: {held.server_said or worker}")
    _print(rows | {"standstill": told}, as_json=as_json, text="\n".join(lines))
