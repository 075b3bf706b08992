"""Logs without personal data: what looks like an address or a bearer token does not reach a log line."""

from __future__ import annotations

import logging
import re

_EMAIL = re.compile(r"[\w.+-]+@[\w-]+(\.[\w-]+)+")
_TOKEN = re.compile(r"\bhw[tci][_-][\w-]{8,}")


class NoPersonalData(logging.Filter):
    """Replaces email addresses, API tokens and enrolment codes and invitations in the finished message and its traceback."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Redact the record in place; always keep it."""
        message = record.getMessage()
        redacted = _redacted(message)
        if redacted != message:
            record.msg, record.args = redacted, None
        if record.exc_info and not record.exc_text:
            # A formatter takes this text when it is there. Databases quote the row that they refuse.
            record.exc_text = _redacted(logging.Formatter().formatException(record.exc_info))
        return True


def _redacted(text: str) -> str:
    return _TOKEN.sub("<secret>", _EMAIL.sub("<email>", text))
