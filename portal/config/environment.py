"""The portal's settings as the environment states them, read once, with all faults reported together."""

from __future__ import annotations

import re
from dataclasses import dataclass
from email.utils import parseaddr
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote, urlsplit

from domain.clock import clock_from_spec
from domain.errors import ConfigError
from portal.notifications.provider import TextProvider

if TYPE_CHECKING:
    from collections.abc import Mapping

_BOOLEANS = {"True": True, "False": False}
_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1", "[::1]"})


@dataclass(frozen=True, slots=True)
class DatabaseAddress:
    """Where the portal's rows are: one SQLite file, or a PostgreSQL database."""

    engine: str
    name: str
    user: str = ""
    password: str = ""
    host: str = ""
    port: str = ""

    @property
    def is_postgresql(self) -> bool:
        """Whether it is PostgreSQL."""
        return self.engine == "postgresql"


@dataclass(frozen=True, slots=True)
class MailServer:
    """Where messages go: a mail server, or (host empty) a folder in which each becomes a file.

    implicit_tls  TLS from the first byte (smtps); starttls: asked for before anything is said. Neither: loopback only.
    """

    folder: Path
    host: str = ""
    port: int = 0
    user: str = ""
    password: str = ""
    implicit_tls: bool = False
    starttls: bool = False
    sender: str = "portal@localhost"


@dataclass(frozen=True, slots=True)
class Environment:
    """Everything the portal takes from its environment.

    portal_dir       the state directory: SQLite file, CA, keys, static files.
    secret_key       None when neither given nor made by `headwater portal init` yet.
    former_secret_keys  what was made with them still works, the newest first.
    broker_url       what enrolled collectors are told, mqtts://host:port.
    broker_config    the rendered broker configuration to keep up to date on enrolment and revocation, or None.
    broker_pid_file  the broker's process id: it gets SIGHUP after that file has changed.
    """

    portal_dir: Path
    database: DatabaseAddress
    clock_spec: str
    secret_key: str | None
    former_secret_keys: tuple[str, ...]
    allowed_hosts: tuple[str, ...]
    broker_url: str
    broker_config: Path | None
    broker_kind: str
    broker_pid_file: Path | None
    demo: bool
    behind_tls_proxy: bool
    mail: MailServer
    texts: TextProvider


def read_environment(env: Mapping[str, str]) -> Environment:
    """Return the portal's settings.

    raises  ConfigError that lists every fault at once.
    """
    faults: list[str] = []
    portal_dir = Path(env.get("HEADWATER_PORTAL_DIR", "run/portal")).absolute()
    database = _database(env.get("DATABASE_URL", ""), portal_dir, faults)
    demo = _boolean(env, "HEADWATER_DEMO", faults)
    clock_spec = env.get("HEADWATER_CLOCK", "system")
    _check_clock(clock_spec, faults, demo=demo)
    broker_url = env.get("HEADWATER_BROKER_URL", "mqtts://127.0.0.1:8883")
    _check_broker(broker_url, faults, demo=demo)
    kind = env.get("HEADWATER_BROKER_KIND", "nats")
    if kind not in ("nats", "mosquitto"):
        faults.append(f"HEADWATER_BROKER_KIND={kind!r}: expected nats or mosquitto")
    hosts = tuple(
        h.strip() for h in env.get("HEADWATER_ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]").split(",") if h.strip()
    )
    if demo and (others := [host for host in hosts if not is_loopback(host)]):
        faults.append(
            f"HEADWATER_DEMO=True shows pages in clear text, on this machine alone; HEADWATER_ALLOWED_HOSTS names "
            f"{', '.join(others)}: unset one of them"
        )
    result = Environment(
        portal_dir=portal_dir,
        database=database,
        clock_spec=clock_spec,
        secret_key=_secret_key(env, portal_dir, faults),
        former_secret_keys=_former_secret_keys(env, portal_dir, faults),
        allowed_hosts=hosts,
        broker_url=broker_url,
        broker_config=_path(env, "HEADWATER_BROKER_CONFIG"),
        broker_kind=kind,
        broker_pid_file=_path(env, "HEADWATER_BROKER_PID_FILE"),
        demo=demo,
        behind_tls_proxy=_boolean(env, "HEADWATER_BEHIND_TLS_PROXY", faults),
        mail=_mail(env, portal_dir, faults),
        texts=_texts(env, portal_dir, faults, demo=demo),
    )
    if faults:
        raise ConfigError(faults)
    return result


_MAIL_PORTS = {"smtps": 465, "smtp+starttls": 587, "smtp": 25}
_MAIL_EXPECTED = (
    "expected smtp+starttls://user@host:587, smtps://user@host:465, smtp://localhost:25 (clear text, this machine "
    "alone), or unset it: then every message becomes a file in `outbox`"
)


def _mail(env: Mapping[str, str], portal_dir: Path, faults: list[str]) -> MailServer:
    """Return the mail server in HEADWATER_EMAIL_URL; the password may stand in a file of its own."""
    outbox = MailServer(portal_dir / "outbox", sender=env.get("HEADWATER_EMAIL_FROM", "portal@localhost"))
    url = env.get("HEADWATER_EMAIL_URL", "")
    if not url:
        return outbox
    parts = urlsplit(url)
    try:
        port = parts.port or _MAIL_PORTS.get(parts.scheme, 0)
    except ValueError:
        port = 0
    if parts.scheme not in _MAIL_PORTS or not parts.hostname or not port or parts.path.strip("/") or parts.query:
        # Never the whole address: it may hold a password.
        faults.append(f"HEADWATER_EMAIL_URL ({url.split(':', 1)[0]}:...): {_MAIL_EXPECTED}")
        return outbox
    if parts.scheme == "smtp" and not is_loopback(parts.hostname):
        faults.append(f"HEADWATER_EMAIL_URL: smtp:// sends in clear text to {parts.hostname}; {_MAIL_EXPECTED}")
    address = parseaddr(outbox.sender)[1]
    if "HEADWATER_EMAIL_FROM" not in env or "@" not in address or "." not in address.rpartition("@")[2]:
        faults.append(
            "HEADWATER_EMAIL_FROM: a mail server needs the address that messages come from, such as "
            "'City Water <billing@city.example>'"
        )
    return MailServer(
        outbox.folder,
        host=parts.hostname,
        port=port,
        user=unquote(parts.username or ""),
        password=unquote(parts.password or "") or _secret_file(env, "HEADWATER_EMAIL_PASSWORD_FILE", faults),
        implicit_tls=parts.scheme == "smtps",
        starttls=parts.scheme == "smtp+starttls",
        sender=outbox.sender,
    )


_TEXTS_EXPECTED = (
    "expected twilio://ACCOUNT_SID@api.twilio.com?from=+14055550100 (or ?service=MESSAGING_SERVICE_SID), or unset it: "
    "then no texts are offered outside a demo, where every text becomes a file in `outbox`"
)


def _texts(env: Mapping[str, str], portal_dir: Path, faults: list[str], *, demo: bool) -> TextProvider:
    """Return the SMS provider in HEADWATER_SMS_URL; the token may stand in a file of its own."""
    regions = tuple(one.strip().upper() for one in env.get("HEADWATER_SMS_REGIONS", "US").split(",") if one.strip())
    if not regions or any(len(one) != 2 or not one.isalpha() for one in regions):
        faults.append("HEADWATER_SMS_REGIONS: expected two-letter country codes with commas, such as US,PR")
        regions = ("US",)
    folder = TextProvider(portal_dir / "outbox", regions=regions)
    url = env.get("HEADWATER_SMS_URL", "")
    if not url:
        return folder
    parts = urlsplit(url)
    # A plus sign is a blank in a query; in a telephone number it is a plus sign.
    options = parse_qs(parts.query.replace("+", "%2B"))
    sender, service = options.get("from", [""])[0], options.get("service", [""])[0]
    try:
        port = parts.port
    except ValueError:
        port = -1
    known = parts.scheme in ("twilio", "twilio+http") and parts.hostname and parts.username and port != -1
    if not known or bool(sender) == bool(service) or set(options) - {"from", "service"} or parts.path.strip("/"):
        # Never the whole address: it may hold the token.
        faults.append(f"HEADWATER_SMS_URL ({url.split(':', 1)[0]}:...): {_TEXTS_EXPECTED}")
        return folder
    if sender and not _E164.fullmatch(sender):
        faults.append(f"HEADWATER_SMS_URL: from={sender}: expected a number such as +14055550100")
    clear = parts.scheme == "twilio+http"
    if clear and not (demo and is_loopback(parts.hostname or "")):
        faults.append("HEADWATER_SMS_URL: twilio+http:// is clear text: to a loopback address only, and in a demo")
    token = unquote(parts.password or "") or _secret_file(env, "HEADWATER_SMS_TOKEN_FILE", faults)
    if not token:
        faults.append("HEADWATER_SMS_TOKEN_FILE: Twilio needs the account's auth token; name a file that holds it")
    return TextProvider(
        folder.folder,
        account=unquote(parts.username or ""),
        token=token,
        base=f"{'http' if clear else 'https'}://{parts.hostname}{f':{port}' if port else ''}",
        sender=sender,
        service=service,
        regions=regions,
    )


def _secret_file(env: Mapping[str, str], name: str, faults: list[str]) -> str:
    """Return what stands in the file that a setting names, empty when it names none."""
    named = env.get(name)
    if not named:
        return ""
    try:
        return Path(named).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no UTF-8 text"
        faults.append(f"{name}={named}: {reason}")
        return ""


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine itself and nothing else."""
    return host in _LOOPBACK


def _path(env: Mapping[str, str], name: str) -> Path | None:
    text = env.get(name, "")
    return Path(text).absolute() if text else None


def _boolean(env: Mapping[str, str], name: str, faults: list[str]) -> bool:
    text = env.get(name, "False")
    if text not in _BOOLEANS:
        faults.append(f"{name}={text!r}: expected True or False")
    return _BOOLEANS.get(text, False)


def _secret_key(env: Mapping[str, str], portal_dir: Path, faults: list[str]) -> str | None:
    if key := env.get("HEADWATER_SECRET_KEY"):
        if len(key) < 32:
            faults.append("HEADWATER_SECRET_KEY: expected 32 characters or more; unset it and `portal init` makes one")
        return key
    named = env.get("HEADWATER_SECRET_KEY_FILE")
    file = Path(named) if named else portal_dir / "keys" / "secret_key"
    try:
        return file.read_text(encoding="ascii").strip()
    except OSError as error:
        if named:
            faults.append(f"HEADWATER_SECRET_KEY_FILE={named}: {error.strerror}")
        return None


def _former_secret_keys(env: Mapping[str, str], portal_dir: Path, faults: list[str]) -> tuple[str, ...]:
    """Return the keys before today's, a line each."""
    named = env.get("HEADWATER_SECRET_KEY_FORMER_FILE")
    file = Path(named) if named else portal_dir / "keys" / "secret_key_former"
    try:
        return tuple(line.strip() for line in file.read_text(encoding="ascii").splitlines() if line.strip())
    except OSError as error:
        if named:
            faults.append(f"HEADWATER_SECRET_KEY_FORMER_FILE={named}: {error.strerror}")
        return ()


def _check_clock(spec: str, faults: list[str], *, demo: bool) -> None:
    try:
        clock_from_spec(spec)
    except ValueError as error:
        faults.append(f"HEADWATER_CLOCK: {error}")
    else:
        if spec != "system" and not demo:
            faults.append(f"HEADWATER_CLOCK={spec!r}: another clock than the machine's is for a demo; unset it")


def _check_broker(url: str, faults: list[str], *, demo: bool) -> None:
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = None
    if parts.scheme not in ("mqtts", "mqtt") or not parts.hostname or port is None:
        faults.append(f"HEADWATER_BROKER_URL={url!r}: expected mqtts://host:port")
    elif parts.scheme == "mqtt" and not (demo and is_loopback(parts.hostname)):
        faults.append(
            f"HEADWATER_BROKER_URL={url!r}: clear text goes to a loopback address only, and in a demo; use mqtts://"
        )


def _database(url: str, portal_dir: Path, faults: list[str]) -> DatabaseAddress:
    """Return the address in DATABASE_URL: postgres:// or postgresql://, a socket directory as ?host=; or sqlite:///."""
    if not url:
        return DatabaseAddress("sqlite", str(portal_dir / "portal.sqlite3"))
    parts = urlsplit(url)
    if parts.scheme == "sqlite" and parts.path.strip("/"):
        return DatabaseAddress("sqlite", unquote(parts.path[1:]))
    try:
        port = "" if parts.port is None else str(parts.port)
    except ValueError:
        port = "?"
    options = parse_qs(parts.query)
    name = unquote(parts.path.lstrip("/"))
    unknown = set(options) - {"host", "port"}
    if parts.scheme not in ("postgres", "postgresql") or not name or port == "?" or unknown:
        shown = parts.scheme or url.split(":", 1)[0]
        faults.append(
            f"DATABASE_URL ({shown}:...): expected postgresql://user:password@host:port/name "
            "(a socket directory as ?host=/path), or sqlite:///path"
        )
        return DatabaseAddress("sqlite", ":memory:")
    return DatabaseAddress(
        "postgresql",
        name,
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        host=options.get("host", [unquote(parts.hostname or "")])[0],
        port=options.get("port", [port])[0],
    )
