"""Text messages: a small port, the folder that stands for a provider in demo and tests, and the choice between them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from django.conf import settings

from portal.notifications.carriers import NotTaken
from portal.notifications.models import Message
from portal.notifications.phones import is_stopped, number_text

STOP_ANSWER = "text-stopped:"
"""How the key of the one message begins that may go to a number that said STOP: the confirmation of it."""


class TextService(Protocol):
    """Sends texts by one provider. It never retries, and asks nobody whether it should."""

    def send(self, to: str, text: str, key: str) -> str:
        """Send one text and return the provider's id of it.

        to      a number in E.164. key: the message's code, for providers that refuse to send the same twice.
        raises  NotTaken for this text, CarrierAway when the provider cannot be reached or refuses our sign-in.
        """

    def close(self) -> None:
        """Let go of connections."""


class FolderTexts:
    """Writes every text into a file of the outbox, as emails are written without a mail server."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def send(self, to: str, text: str, key: str) -> str:
        """Write one text; a second time it overwrites the first."""
        self.folder.mkdir(parents=True, exist_ok=True)
        at = datetime.now(UTC)
        file = self.folder / f"{at:%Y%m%d-%H%M%S}-{key}.sms"
        file.write_text(f"To: {to}\nDate: {at.isoformat()}\n\n{text}\n", encoding="utf-8")
        return ""

    def close(self) -> None:
        """Nothing to let go of."""


def text_service() -> TextService:
    """Return the provider that the settings name; without one, the outbox folder."""
    if settings.SMS.account:
        from portal.notifications.sms_twilio import TwilioTexts

        return TwilioTexts(settings.SMS)
    return FolderTexts(settings.SMS.folder)


def texts_offered() -> bool:
    """Tell whether residents may ask for texts: a provider is set up, or this is a demonstration."""
    return bool(settings.SMS.account or settings.DEMO)


def our_number() -> str:
    """Return the number that our texts come from, as people write it; empty when the provider chooses among several."""
    return number_text(settings.SMS.sender) if settings.SMS.sender else ""


class TextCarrier:
    """Carries queued texts to the provider; a number that has said STOP since gets none."""

    def __init__(self) -> None:
        self._service = text_service()

    def open(self) -> None:
        """Connect when the first text goes out."""

    def carry(self, message: Message) -> str:
        """Hand one text over and return the provider's id."""
        if is_stopped(message.to) and not message.key.startswith(STOP_ANSWER):
            raise NotTaken("the telephone has asked for no more texts (STOP)", permanent=True)
        return self._service.send(message.to, message.says, message.public_id)

    def close(self) -> None:
        """Disconnect."""
        self._service.close()
