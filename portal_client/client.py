"""Typed client of the portal's HTTP API, version 1, on the standard library alone.

TLS is verified, against a given authority if there is one; clear text goes to this machine itself only. What only
reads is tried again when the network fails; what changes something is sent once.
"""

from __future__ import annotations

import base64
import http.client
import ipaddress
import json
import ssl
import time
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlencode, urlsplit

from domain.errors import ConfigError
from domain.units import Unit
from portal_client.errors import Conflict, NotAuthorised, NotEnrolled, PortalError
from portal_client.models import Bill, Enrolment, Me, Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

API = "/api/v1"
TIMEOUT_S = 20.0
TRIES = 3
RETRY_PAUSE_S = 0.5
ANSWER_BYTES_MAX = 64 * 1024 * 1024
_RETRY_STATUS = frozenset({502, 503, 504})
_T = TypeVar("_T")


class PortalClient:
    """Asks one portal.

    url    https://host[:port]; http:// to this machine itself only.
    token  for everything but enrolment.
    ca     the authority's certificate in PEM form, for a portal with one of its own; else the system's are trusted.
    """

    def __init__(self, url: str, *, token: str = "", ca: Path | None = None, timeout_s: float = TIMEOUT_S) -> None:
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError:
            port = -1
        if parts.scheme not in ("http", "https") or not parts.hostname or port == -1 or parts.query or parts.username:
            raise ConfigError(f"portal = {url!r}   expected https://HOST or https://HOST:PORT")
        if parts.scheme == "http" and not _is_loopback(parts.hostname):
            raise ConfigError(f"portal = {url!r}   expected https://: clear text goes to this machine itself only")
        self._host, self._port, self._path = parts.hostname, port, parts.path.rstrip("/")
        self._tls = _context(ca) if parts.scheme == "https" else None
        self._token, self._timeout_s = token, timeout_s
        self.url = url

    def enrol(self, *, code: str, csr_pem: str, signing_alg: str, signing_public: bytes, proof: bytes) -> Enrolment:
        """Enrol a collector with its one-time code. It is sent once: an enrolment uses the code up.

        csr_pem         request for the TLS certificate (P-256).
        signing_alg     EDDSA or ES256; `signing_public` its 32 or 33 bytes.
        proof           the signing key's signature over proof_message(code, csr_pem).
        raises          NotEnrolled saying what to do, PortalError.
        """
        body = {
            "code": code,
            "csr": csr_pem,
            "signing_key": {"alg": signing_alg, "public": base64.b64encode(signing_public).decode()},
            "proof": base64.b64encode(proof).decode(),
        }
        try:
            answer = self._ask("POST", "/enrol", body=body, tries=1)
        except (NotAuthorised, Conflict) as error:
            raise NotEnrolled(str(error), status=error.status, code=error.code) from error
        return _understood(Enrolment.from_json, answer)

    def me(self) -> Me:
        """Return whose token this is and which service points it may see."""
        return _understood(Me.from_json, self._ask("GET", "/me"))

    def usage(
        self,
        service_point: str,
        *,
        start: datetime,
        end: datetime,
        resolution: str = "day",
        unit: Unit | str = Unit.GALLON,
    ) -> Usage:
        """Return the usage in [start, end), cut at hours, days or months of the utility's zone.

        start, end  aware datetimes. resolution: hour, day or month. unit: of the volumes; counts stay as they are.
        """
        if start.tzinfo is None or end.tzinfo is None:
            raise ValueError("start and end are aware datetimes")
        query = {
            "service_point": service_point,
            "from": start.astimezone(UTC).isoformat(),
            "to": end.astimezone(UTC).isoformat(),
            "resolution": resolution,
            "unit": Unit(unit).value,
        }
        return _understood(Usage.from_json, self._ask("GET", f"/usage?{urlencode(query)}"))

    def usage_file(
        self,
        service_point: str,
        *,
        start: datetime,
        end: datetime,
        form: str = "csv",
        every: str = "day",
        unit: Unit | str = Unit.GALLON,
    ) -> bytes:
        """Return the usage in [start, end) as a file: csv, xlsx or xml (Green Button), three years at most.

        start, end  aware datetimes. every: hour, day, month, or read for a row from each read to the next.
        """
        if start.tzinfo is None or end.tzinfo is None:
            raise ValueError("start and end are aware datetimes")
        query = {
            "service_point": service_point,
            "from": start.astimezone(UTC).isoformat(),
            "to": end.astimezone(UTC).isoformat(),
            "form": form,
            "every": every,
            "unit": Unit(unit).value,
        }
        content: bytes = self._ask("GET", f"/usage/file?{urlencode(query)}", read=_content)
        return content

    def bills(self) -> Iterator[Bill]:
        """Yield the bills that the token's user may see, newest first; the token needs the scope bills:read."""
        before: str | None = None
        while True:
            answer = self._ask("GET", "/bills" + (f"?{urlencode({'before': before})}" if before else ""))
            yield from _understood(lambda page: [Bill.from_json(bill) for bill in page["bills"]], answer)
            before = _understood(lambda page: page["next"], answer)
            if before is None:
                return

    # -- moving bytes ------------------------------------------------------------------------------------------------

    def _ask(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        tries: int = TRIES,
        read: Callable[[str, int, bytes], Any] | None = None,
    ) -> Any:
        """Return the answer's JSON. raises PortalError or the class that the status stands for.

        read  turns the answer into something else: address, status, content.
        """
        failure: PortalError | None = None
        for attempt in range(tries):
            if attempt:
                time.sleep(RETRY_PAUSE_S * 2 ** (attempt - 1))
            try:
                status, content = self._exchange(method, path, body)
            except ssl.SSLCertVerificationError as error:
                raise PortalError(
                    f"{self.url}: its certificate cannot be trusted ({error.verify_message}). "
                    "Name the portal's authority with --ca FILE, or correct the address."
                ) from error
            except (OSError, http.client.HTTPException) as error:
                reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
                failure = PortalError(f"{self.url} cannot be reached: {reason}. Check the address and the network.")
                continue
            if status not in _RETRY_STATUS:
                return (read or _answer)(self.url, status, content)
            failure = PortalError(
                f"{self.url} answers {status}: it is starting or overloaded; try again", status=status
            )
        assert failure is not None
        raise failure

    def _exchange(self, method: str, path: str, body: Mapping[str, Any] | None) -> tuple[int, bytes]:
        connection: http.client.HTTPConnection
        if self._tls is None:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=self._timeout_s)
        else:
            connection = http.client.HTTPSConnection(self._host, self._port, timeout=self._timeout_s, context=self._tls)
        headers = {"Accept": "application/json", "User-Agent": "headwater-portal-client"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        content = None
        if body is not None:
            headers["Content-Type"], content = "application/json", json.dumps(body).encode()
        with closing(connection):
            connection.request(method, f"{self._path}{API}{path}", body=content, headers=headers)
            response = connection.getresponse()
            answer = response.read(ANSWER_BYTES_MAX + 1)
            if len(answer) > ANSWER_BYTES_MAX:
                raise http.client.HTTPException(f"answered more than {ANSWER_BYTES_MAX} bytes")
            return response.status, answer


def proof_message(code: str, csr_pem: str) -> bytes:
    """Return what a collector signs to prove that it holds its signing key: label, code and request's SHA-256."""
    import hashlib

    return b"\0".join((b"hw1.enrol", code.encode(), hashlib.sha256(csr_pem.encode()).digest()))


def _answer(url: str, status: int, content: bytes) -> Any:
    """Return the JSON of a good answer; raise the error of a bad one with the portal's own words."""
    try:
        value = json.loads(content)
    except ValueError:
        value = None
    if 200 <= status < 300 and value is not None:
        return value
    problem = value if isinstance(value, dict) else {}
    code = str(problem.get("error", ""))
    message = str(problem.get("message", "")) or f"{url} answered {status}, which is no answer of a portal's API"
    if status in (401, 403):
        raise NotAuthorised(message, status=status, code=code)
    if 400 <= status < 500 and problem and status != 429:
        raise Conflict(message, status=status, code=code)
    raise PortalError(message, status=status, code=code)


def _content(url: str, status: int, content: bytes) -> bytes:
    """Return a file's bytes; raise the error of a bad answer."""
    return content if status == 200 else _answer(url, status, content)


def _understood(read: Callable[[Mapping[str, Any]], _T], answer: Any) -> _T:
    try:
        return read(answer)
    except (KeyError, TypeError, ValueError) as error:
        raise PortalError(
            f"the portal's answer is not what this version understands ({error!r}); update the older of the two"
        ) from error


def _context(ca: Path | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=str(ca) if ca else None)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"ca = {str(ca)!r}   expected a certificate in PEM form: {error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
