"""Logs without personal data: what looks like a person or a secret does not reach a log line.

Nothing here excuses a call that logs a person: it is the net below. What it knows are shapes: addresses of email,
telephone numbers, account numbers where the line says so, tokens, the keys in links that people get by email, values of
query strings and cookies. Names have no shape: no line of ours has one, and those of a query string go with it.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_SHAPES: Sequence[tuple[re.Pattern[str], str]] = (
    (re.compile(r"[\w.+%-]+(?:@|%40)[\w-]+(?:\.[\w-]+)+"), "<email>"),
    (re.compile(r"\bhw[tci][_-][\w-]{8,}"), "<secret>"),
    (re.compile(r"(?i)\b(bearer )(?!<)[\w.~+/=-]{8,}"), r"\1<secret>"),
    (re.compile(r"(?i)\b(token|password|secret|code)([\"']?[=:] ?[\"']?)(?!<)[\w.~+/=-]{6,}"), r"\1\2<secret>"),
    (re.compile(r"(/invitation/|/confirm-email/|/password/reset/key/)[^/\s\"'<]+"), r"\1<secret>"),
    (re.compile(r"([?&;][\w.\[\]-]+)=[^&;\s\"'<>]+"), r"\1=<value>"),
    (re.compile(r"\b(sessionid|csrftoken|session_key)([=:' ]+)[\w-]{8,}"), r"\1\2<secret>"),
    (re.compile(r"(?<![\w.+-])\+[1-9]\d{7,14}(?!\w)"), "<phone>"),
    (
        re.compile(r"(?<![\w.+-])(?:\+?1[ .-]?)?(?:\(\d{3}\) ?|\d{3}[ .-])\d{3}[ .-]\d{4}(?![\w-])"),
        "<phone>",
    ),
    (re.compile(r"(?i)\b(account(?:[ _](?:number|no\.?))?)([ =:#'\"]+)\d[\d .-]{2,}\d"), r"\1\2<number>"),
)


class NoPersonalData(logging.Filter):
    """Replaces what is personal or secret in the finished message, its traceback and its stack."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Redact the record in place; always keep it."""
        try:
            message = record.getMessage()
        except (TypeError, ValueError):  # a call with the wrong arguments still says where it is
            message = f"{record.msg} {record.args!r}"
        redacted = without_personal_data(message)
        if redacted != message or record.args:
            record.msg, record.args = redacted, None
        if record.exc_info or record.exc_text:
            # A formatter takes this text when it is there. Databases quote the row that they refuse.
            text = record.exc_text
            if not text and record.exc_info:
                text = logging.Formatter().formatException(record.exc_info)
            record.exc_text = without_personal_data(text or "")
        if record.stack_info:
            record.stack_info = without_personal_data(record.stack_info)
        return True


def without_personal_data(text: str) -> str:
    """Return a text in which every known shape is replaced by what it was."""
    for shape, replacement in _SHAPES:
        text = shape.sub(replacement, text)
    return text
