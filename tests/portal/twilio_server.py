"""A loopback server that behaves as Twilio's published API description says, written from it and not from the SDK.

Creates messages (POST /2010-04-01/Accounts/{sid}/Messages.json: basic authentication, a form, JSON back), answers with
Twilio's error documents, and signs what Twilio would send to us. Sources: the Message resource, `Security` (the
signature), `Error and warning dictionary` of Twilio's public documentation.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

ACCOUNT = "AC" + "0123456789abcdef" * 2
TOKEN = "a-token-of-the-account"  # noqa: S105
NUMBER = "+14055550100"


def signature(token: str, url: str, fields: Mapping[str, str]) -> str:
    """Return X-Twilio-Signature: base64 of HMAC-SHA1, keyed by the token, of the URL and each field, sorted by name."""
    signed = url + "".join(name + fields[name] for name in sorted(fields))
    return base64.b64encode(hmac.new(token.encode(), signed.encode(), hashlib.sha1).digest()).decode()


@dataclass
class TwilioServer:
    """One account. `accepted` holds the form of each message taken; `answers` what to say instead, in order.

    answers  None: take it. (status, code): refuse it with that error document. "hang up": close without a word.
             "take and hang up": take it, and close before the answer.
    hold_from  messages from this number on (from 1) are taken and not answered before `released`; None: all are.
    held       how many senders wait for such an answer now.
    """

    accepted: list[dict[str, str]] = field(default_factory=list)
    answers: list[tuple[int, int] | str | None] = field(default_factory=list)
    hold_from: int | None = None
    held: int = 0
    released: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self) -> TwilioServer:
        """Serve on a free port of this machine."""
        owner = self

        class Handler(_Handler):
            server_of = owner

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    @property
    def base(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def sid(self, index: int) -> str:
        """Return the SID of the message taken as number `index`."""
        return f"SM{index:032x}"


class _Handler(BaseHTTPRequestHandler):
    server_of: TwilioServer

    def do_POST(self) -> None:
        twilio = self.server_of
        length = int(self.headers["Content-Length"])
        form = {name: values[0] for name, values in parse_qs(self.rfile.read(length).decode()).items()}
        expected = base64.b64encode(f"{ACCOUNT}:{TOKEN}".encode()).decode()
        if urlsplit(self.path).path != f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json":
            self._refuse(404, 20404)
        elif self.headers.get("Authorization") != f"Basic {expected}":
            self._refuse(401, 20003)
        elif (fault := _fault(form)) is not None:
            self._refuse(400, fault)
        else:
            self._answer(twilio.answers.pop(0) if twilio.answers else None, form)

    def _answer(self, answer: tuple[int, int] | str | None, form: dict[str, str]) -> None:
        if isinstance(answer, tuple):
            self._refuse(*answer)
        elif answer == "hang up":
            self.close_connection = True
        else:
            twilio = self.server_of
            with twilio.lock:
                sid = twilio.sid(len(twilio.accepted))
                twilio.accepted.append(form)
                holds = twilio.hold_from is not None and len(twilio.accepted) >= twilio.hold_from
                twilio.held += holds
            if holds:
                twilio.released.wait()
            if answer is None:
                self._say(201, _message(sid, form))
            self.close_connection = answer is not None

    def _refuse(self, status: int, code: int) -> None:
        more = f"https://www.twilio.com/docs/errors/{code}"
        self._say(status, {"code": code, "message": f"refused {code}", "more_info": more, "status": status})

    def _say(self, status: int, document: object) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _fault(form: Mapping[str, str]) -> int | None:
    """Return the error code of a form that Twilio would refuse."""
    if not form.get("To"):
        return 21604
    if not form.get("Body"):
        return 21602
    if len(form["Body"]) > 1600:
        return 21617
    if bool(form.get("From")) == bool(form.get("MessagingServiceSid")):
        return 21603
    if form.get("From", NUMBER) != NUMBER:
        return 21606
    return None


def _message(sid: str, form: Mapping[str, str]) -> dict[str, object]:
    """Return the Message resource, as the description lists its properties."""
    at = formatdate(0)
    return {
        "account_sid": ACCOUNT, "api_version": "2010-04-01", "body": form["Body"], "date_created": at,
        "date_sent": None, "date_updated": at, "direction": "outbound-api", "error_code": None,
        "error_message": None, "from": form.get("From"), "messaging_service_sid": form.get("MessagingServiceSid"),
        "num_media": "0", "num_segments": "1", "price": None, "price_unit": "USD", "sid": sid, "status": "queued",
        "subresource_uris": {"media": f"/2010-04-01/Accounts/{ACCOUNT}/Messages/{sid}/Media.json"},
        "to": form["To"], "uri": f"/2010-04-01/Accounts/{ACCOUNT}/Messages/{sid}.json",
    }  # fmt: skip
