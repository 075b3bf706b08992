"""Where Twilio tells what became of a text, and what people text back: signed by it, believed only then."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from portal.core.services import utility_settings
from portal.notifications.received import Incoming, take_state, take_text
from portal.notifications.sms_reasons import reason

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import QueryDict

BODY_BYTES_MAX = 16_384
"""A text has at most 1,600 characters; Twilio adds some twenty short fields."""
_FIELDS_MAX = 100
_SID = re.compile(r"[A-Za-z0-9]{1,64}")
_NUMBER = re.compile(r"\+[1-9][0-9]{6,14}")
_NOTHING = '<?xml version="1.0" encoding="UTF-8"?><Response/>'


def _signed(view: Callable[[QueryDict, QueryDict], None]) -> Callable[[HttpRequest], HttpResponse]:
    """Wrap a hook: POST alone, small, and with Twilio's signature over our public address and every field."""

    @csrf_exempt
    @require_POST
    def hook(request: HttpRequest) -> HttpResponse:
        length = request.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()):
            return HttpResponse(status=411)
        if int(length) > BODY_BYTES_MAX:
            return HttpResponse(status=413)
        if request.content_type != "application/x-www-form-urlencoded" or not is_signed(request):
            return HttpResponse(status=403)
        if len(request.POST) <= _FIELDS_MAX:
            view(request.POST, request.GET)
        return HttpResponse(_NOTHING, content_type="text/xml")

    return hook


def is_signed(request: HttpRequest) -> bool:
    """Tell whether Twilio signed a request: with our token, over the address that the portal says it has.

    The address is that of the settings, not the one in the request: a Host header is anybody's word.
    """
    from twilio.request_validator import RequestValidator

    site = utility_settings().portal_url.rstrip("/")
    signature = request.headers.get("X-Twilio-Signature", "")
    if not settings.SMS.token or not site or not signature.isascii():
        return False
    address = site + request.get_full_path()
    return bool(RequestValidator(settings.SMS.token).validate(address, request.POST, signature))


@_signed
def status(fields: QueryDict, query: QueryDict) -> None:
    """Take what became of a text, whose code our address carries; of texts that are not ours nothing is said."""
    code = fields.get("ErrorCode", "")
    number = int(code) if code.isascii() and code.isdigit() and len(code) < 7 else None
    sid = fields.get("MessageSid") or fields.get("SmsSid") or ""
    take_state(sid, fields.get("MessageStatus", ""), reason(number), code=query.get("message", ""))


@_signed
def inbound(fields: QueryDict, _query: QueryDict) -> None:
    """Take a text that somebody sent to our number; OptOutType says that Twilio has answered it already."""
    sid, number = fields.get("MessageSid", ""), fields.get("From", "")
    ours = fields.get("AccountSid", "") == settings.SMS.account
    if ours and _SID.fullmatch(sid) and _NUMBER.fullmatch(number):
        take_text(Incoming(sid, number, fields.get("Body", ""), answered=bool(fields.get("OptOutType"))))


urlpatterns = [
    path("status/", status, name="sms-status"),
    path("inbound/", inbound, name="sms-inbound"),
]
