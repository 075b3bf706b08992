"""Texts through Twilio's SDK, its published error codes sorted into now, later and never.

Twilio's Messages resource takes no idempotency key. The address to which it reports a text's states carries our code,
so that what it accepted and a dying worker did not mark is known before the worker's claim ends (see received.py).
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from requests.exceptions import RequestException
from twilio.base.exceptions import TwilioException, TwilioRestException
from twilio.http.http_client import TwilioHttpClient
from twilio.rest import Client

from portal.core.services import utility_settings
from portal.notifications.carriers import CarrierAway, NotTaken
from portal.notifications.models import StoppedNumber
from portal.notifications.sms_reasons import WORDS, reason

if TYPE_CHECKING:
    from portal.notifications.provider import TextProvider

_API = "https://api.twilio.com"
_TIMEOUT_S = 15.0
STATUS_PATH = "/hooks/sms/status/"
_NOT_OUR_FAULT_YET = frozenset({20429, 30001, 30022})
"""Too many requests, queue overflow, carrier limit of the day: later."""
_OURS = frozenset({20003, 20404, 21212, 21603, 21606, 21608, 21659, 21660})
"""Sign-in refused, unknown account, a sender that is not ours, a trial account: the settings are wrong, texts wait."""
_STOPPED = 21610
_quiet = logging.getLogger("portal.twilio")
_quiet.setLevel(logging.WARNING)  # the SDK logs every request with its address at INFO


class _Http(TwilioHttpClient):  # type: ignore[misc]
    """The SDK's HTTP client; `base` puts another server in Twilio's place (a loopback one, in demo and tests)."""

    def __init__(self, base: str) -> None:
        super().__init__(timeout=_TIMEOUT_S, logger=_quiet, max_retries=0)
        self._base = base
        self.session.trust_env = base == _API  # a proxy of the environment has no business with loopback

    def request(self, method: str, url: str, *arguments: Any, **named: Any) -> Any:
        return super().request(method, url.replace(_API, self._base, 1), *arguments, **named)


class TwilioTexts:
    """Sends texts by one Twilio account."""

    def __init__(self, provider: TextProvider) -> None:
        self._provider = provider
        self._http = _Http(provider.base or _API)
        # An environment that is not empty, or the SDK reads the process's own.
        self._client = Client(provider.account, provider.token, http_client=self._http, environment={"": ""})

    def send(self, to: str, text: str, key: str) -> str:
        """Hand one text to Twilio and return its SID."""
        named: dict[str, str] = {"to": to, "body": text}
        if self._provider.service:
            named["messaging_service_sid"] = self._provider.service
        else:
            named["from_"] = self._provider.sender
        if site := utility_settings().portal_url:
            named["status_callback"] = f"{site.rstrip('/')}{STATUS_PATH}?message={key}"
        try:
            return str(self._client.messages.create(**named).sid)
        except TwilioRestException as error:
            raise _sorted(error, to) from error
        except RequestException as error:
            # A time-out may come after Twilio took it: tried again all the same, a text twice is better than none.
            raise NotTaken(f"connection lost: {type(error).__name__}", permanent=False, away=True) from error
        except TwilioException as error:
            raise CarrierAway(f"Twilio's answer is not understood: {type(error).__name__}") from error

    def close(self) -> None:
        """Let go of the connection."""
        self._http.session.close()


def stop_by_provider(number: str) -> None:
    """Remember that the provider blocks a number because it said STOP there."""
    StoppedNumber.objects.get_or_create(number=number, defaults={"stopped_at": datetime.now(UTC), "source": "provider"})


def _sorted(error: TwilioRestException, to: str) -> NotTaken | CarrierAway:
    """Return what an answer of Twilio means: never, later, or nobody to blame but the settings."""
    code = int(error.code) if error.code else None
    if code in _OURS or error.status in (401, 403) and code not in WORDS:
        return CarrierAway(f"Twilio refuses our settings: {reason(code)} (HTTP {error.status})")
    if code in _NOT_OUR_FAULT_YET or error.status == 429:
        return CarrierAway(f"Twilio asks us to wait: {reason(code)} (HTTP {error.status})")
    if error.status >= 500:
        return NotTaken(f"HTTP {error.status} {reason(code)}", permanent=False, away=True)
    if code == _STOPPED:
        stop_by_provider(to)
    return NotTaken(reason(code), permanent=True)
