"""The outbox: a command is published until the collector reports it done, or it expires."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from django.conf import settings
from django.test import Client

from domain.reading import EventKind
from portal.cli import portal
from portal.core.clock import now
from portal.core.errors import Refused
from portal.fleet import commands
from portal.fleet import services as fleet
from portal.fleet.models import Collector, CollectorCommand
from portal.ingest.apply import apply_batch
from sync.signing import open_command
from tests.portal.building import NOON, Box, collector_row, enrolled, event, person

if TYPE_CHECKING:
    from datetime import datetime

    from sync.signing import Command

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)


@pytest.fixture
def box() -> Box:
    return enrolled()


def opened(box: Box, outgoing: commands.Outgoing, at: datetime) -> Command:
    key = fleet.portal_signing_key(str(settings.PORTAL_DIR)).verify_key
    return open_command(
        outgoing.signed, collector=box.name, keys=lambda _: key, now=at, longest=commands.EXPIRES_LONGEST
    )


def test_a_command_is_published_again_ever_more_rarely_until_it_is_done(box: Box) -> None:
    row = commands.queue_command(collector_row(box), "read-now", {"meters": ["EFE-1"]}, expires_in=24 * HOUR)
    start, moment, sent = row.created_at, row.created_at, []
    while moment < start + 3 * HOUR:
        assert commands.waits() or sent
        for outgoing in commands.due_commands(moment):
            assert outgoing.collector == box.name
            sent.append((moment - start, opened(box, outgoing, moment)))
        moment += timedelta(seconds=10)
    assert [int(at.total_seconds()) for at, _ in sent[:5]] == [0, 30, 90, 210, 450]
    assert len(sent) < 12
    assert {command.nonce for _, command in sent} == {bytes(row.nonce)}, "one number: carried out once"
    assert sent[0][1].body == {"meters": ["EFE-1"]}
    done = event(EventKind.COMMAND_DONE, NOON, event_id="e1", nonce=bytes(row.nonce).hex(), result="ok")
    assert apply_batch(box.sealed(events=[done]), box.name, NOON) is not None
    row.refresh_from_db()
    assert (row.result, row.done_at) == ("ok", NOON)
    assert commands.due_commands(moment + HOUR) == []


def test_an_expired_command_is_published_no_more(box: Box) -> None:
    row = commands.queue_command(collector_row(box), "read-now", {"meters": ["EFE-1"]}, expires_in=HOUR)
    assert commands.due_commands(row.expires_at) == []


def test_nobody_closes_the_command_of_another(box: Box) -> None:
    row = commands.queue_command(collector_row(box), "read-now", {"meters": ["EFE-1"]}, expires_in=HOUR)
    other = collector_row(enrolled("hw-oak-1"))
    report = {"nonce": bytes(row.nonce).hex(), "kind": "read-now", "result": "ok"}
    assert not commands.finish_command(report, collector=other.pk, at=NOON)
    for nonsense in ({}, {"nonce": "zz"}, {"nonce": 7}, {"nonce": "00" * 16}):
        assert not commands.finish_command(nonsense, collector=row.collector_id, at=NOON)
    assert commands.finish_command({**report, "result": "x\0" * 500}, collector=row.collector_id, at=NOON)
    assert not commands.finish_command(report, collector=row.collector_id, at=NOON), "the first word counts"


def test_what_no_collector_would_take_is_refused(box: Box) -> None:
    row = collector_row(box)
    for kind, body, expires_in in (
        ("read-now", {}, timedelta(0)),
        ("read-now", {}, timedelta(days=8)),
        ("", {}, HOUR),
        ("configure", {"toml": "x" * 400_000}, HOUR),
    ):
        with pytest.raises(Refused):
            commands.queue_command(row, kind, body, expires_in=expires_in)
    commands.queue_command(row, "read-now", {"meters": ["a"]}, expires_in=HOUR)
    fleet.revoke_collector(row, reason="test")
    assert commands.due_commands(now()) == []
    with pytest.raises(Refused):
        commands.queue_command(Collector.objects.get(pk=row.pk), "read-now", {}, expires_in=HOUR)


def test_the_command_line_queues_and_staff_see_what_became_of_it(box: Box, tmp_path: Path) -> None:
    run = CliRunner().invoke
    done = run(portal, ["command", "read-now", box.name, "--meter", "EFE-1", "--meter", "EFE-2", "--json"])
    assert done.exit_code == 0, done.output
    row = CollectorCommand.objects.get()
    assert json.loads(done.output)["nonce"] == bytes(row.nonce).hex()
    assert row.body == {"meters": ["EFE-1", "EFE-2"]}
    assert run(portal, ["command", "read-now", box.name]).exit_code == 2
    assert isinstance(run(portal, ["command", "read-now", "hw-nobody", "--meter", "a"]).exception, Refused)
    with (tmp_path / "new.toml").open("w") as file:
        file.write("[poll]\nevery_s = 60\n")
    assert run(portal, ["command", "configure", box.name, file.name]).exit_code == 0
    assert CollectorCommand.objects.get(kind="configure").body == {"toml": "[poll]\nevery_s = 60\n", "try_s": 600}
    staff = Client()
    staff.force_login(person("sam@example.org", is_staff=True))
    assert "waiting" in staff.get("/staff/commands/").content.decode()
    commands.finish_command(
        {"nonce": bytes(row.nonce).hex(), "result": "EFE-2: no reply"}, collector=row.collector_id, at=NOON
    )
    page = staff.get("/staff/commands/?q=hw-test").content.decode()
    assert "failed" in page
    assert "EFE-2: no reply" in page
