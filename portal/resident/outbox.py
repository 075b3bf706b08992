"""The outbox of a demonstration: what would have gone out by email and text, readable as its receiver would read it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from pathlib import Path
from typing import TYPE_CHECKING

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from portal.core.services import utility_zone
from portal.resident.wording import moment_text

if TYPE_CHECKING:
    from collections.abc import Iterator

MESSAGES_MAX = 100
_BETWEEN = b"\n" + b"-" * 79 + b"\n"
"""What Django's file backend writes after each email of a file."""


@dataclass(frozen=True, slots=True)
class Item:
    """One email or text out of the outbox folder."""

    channel: str
    to: str
    subject: str
    text: str
    attachments: tuple[str, ...]
    at: datetime

    @property
    def when(self) -> str:
        """When it was written, in the utility's zone."""
        return moment_text(self.at, utility_zone())


@require_GET
@never_cache
def outbox(request: HttpRequest) -> HttpResponse:
    """Show the newest messages of the outbox folder; outside a demonstration there is no such page."""
    if not settings.DEMO:
        raise Http404
    return render(request, "resident/outbox.html", {"items": items(Path(settings.EMAIL_FILE_PATH))})


def items(folder: Path) -> list[Item]:
    """Return the newest messages in a folder, the newest first."""
    files = sorted((file for file in folder.glob("*") if file.suffix in (".log", ".sms")), key=_written, reverse=True)
    found: list[Item] = []
    for file in files:
        if len(found) >= MESSAGES_MAX:
            break
        one = [_text(file)] if file.suffix == ".sms" else list(_emails(file))
        found.extend(reversed(one))
    return found[:MESSAGES_MAX]


def _written(file: Path) -> float:
    return file.stat().st_mtime


def _emails(file: Path) -> Iterator[Item]:
    at = datetime.fromtimestamp(_written(file), UTC)
    for raw in file.read_bytes().split(_BETWEEN):
        if not raw.strip():
            continue
        mail = BytesParser(policy=policy.default).parsebytes(raw)
        assert isinstance(mail, EmailMessage)
        body = mail.get_body(("plain",))
        yield Item(
            channel="email",
            to=str(mail["To"] or ""),
            subject=str(mail["Subject"] or ""),
            text=str(body.get_content()).strip() if body else "",
            attachments=tuple(part.get_filename() or "" for part in mail.iter_attachments()),
            at=at,
        )


def _text(file: Path) -> Item:
    head, _blank, text = file.read_text(encoding="utf-8").partition("\n\n")
    fields = dict(line.split(": ", 1) for line in head.splitlines() if ": " in line)
    return Item("sms", fields.get("To", ""), "", text, (), datetime.fromtimestamp(_written(file), UTC))
