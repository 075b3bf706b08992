"""Who carries text messages, as the settings say it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class TextProvider:
    """Who carries text messages: a Twilio account, or (account empty) a folder in which each becomes a file.

    base     of its API. sender: our number in E.164, or service: the SID of a messaging service.
    regions  from whose numbers residents may choose (ISO 3166); the first is meant when no country is typed.
    """

    folder: Path
    account: str = ""
    token: str = ""
    base: str = ""
    sender: str = ""
    service: str = ""
    regions: tuple[str, ...] = ("US",)
