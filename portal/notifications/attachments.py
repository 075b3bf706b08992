"""What is attached to a message: made when it is sent, by the application that the attachment's kind belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from portal.core.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class Attached:
    """One file of a message."""

    name: str
    content: bytes
    media_type: str


@dataclass(frozen=True, slots=True)
class Maker:
    """Who makes one kind of attachment.

    make  gets what stands after the colon in `Message.attachment`; raises HeadwaterError when it never can.
    sent  is told, in the transaction that marks the message as sent, that it was.
    lost  is told, in the transaction that says so, that the message will not arrive: when, and who found out.
    """

    make: Callable[[str], Attached]
    sent: Callable[[str, datetime], None]
    lost: Callable[[str, datetime, str], None]


_MAKERS: dict[str, Maker] = {}


def register(kind: str, maker: Maker) -> None:
    """Let an application make a kind of attachment: from its `AppConfig.ready`."""
    _MAKERS[kind] = maker


def tell_lost(attachment: str, at: datetime, label: str) -> None:
    """Tell whoever made `kind:reference` that its message will not arrive; nothing for a message without one."""
    kind, _, reference = attachment.partition(":")
    if kind in _MAKERS:
        _MAKERS[kind].lost(reference, at, label)


def maker_of(attachment: str) -> tuple[Maker, str]:
    """Return who makes `kind:reference`, and the reference; raises Refused when nobody does."""
    kind, _, reference = attachment.partition(":")
    if kind not in _MAKERS:
        raise Refused("attachment", f"nobody makes attachments of kind {kind!r}")
    return _MAKERS[kind], reference
