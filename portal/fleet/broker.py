"""Renders the broker's configuration: who may connect, and which topics are theirs.

A collector publishes only under its own topics and hears only what is addressed to it; the portal's ingest reads all
batches and writes all acks. Nothing else may do anything. Every client proves itself with a certificate of the portal's
own authority whose common name is its user name.
"""

from __future__ import annotations

import json
import logging
import os
import signal
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from django.conf import settings

from domain.errors import ConfigError
from domain.ids import CollectorId
from portal.core.files import write_private
from portal.fleet.ca import CertificateAuthority
from portal.fleet.models import Certificate, Collector
from sync import topics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

_LOG = logging.getLogger(__name__)
KINDS = ("nats", "mosquitto")
MAX_MESSAGE_BYTES = 2 * 1024 * 1024
"""Above the largest signed batch, so that it is the portal that refuses an oversized one and remembers it."""

MAX_IN_FLIGHT = 64
"""Messages that the broker hands to one consumer before it wants an acknowledgement: the bound of ingest's memory."""

INGEST_NAME = "portal-ingest"
"""Client id and certificate name of the ingest; a collector's name may not start with `portal-`."""


@dataclass(frozen=True, slots=True)
class Listener:
    """Where the broker listens and keeps its files.

    certificates  the folder of ca.pem, server.pem and server.key; `beside`: the folder of the rendered files.
    """

    host: str
    port: int
    state_dir: Path
    certificates: Path
    beside: Path


def default_listener() -> Listener:
    """Return the listener that the settings describe."""
    parts = urlsplit(settings.BROKER_URL)
    directory = Path(settings.PORTAL_DIR) / "broker"
    loopback = parts.hostname in ("127.0.0.1", "localhost", "::1")
    host = "127.0.0.1" if loopback else "0.0.0.0"  # noqa: S104 (a broker for collectors in the field listens to them)
    return Listener(host, parts.port or 8883, directory / "state", directory, directory)


def render(kind: str, listener: Listener) -> Mapping[str, str]:
    """Return the files of a broker's configuration; the key "" is the main one, others are names beside it."""
    if kind not in KINDS:
        raise ConfigError(f"{kind!r} is no broker that is known here; expected one of {', '.join(KINDS)}")
    return _RENDERERS[kind](listener)


def write(kind: str, out: Path, listener: Listener) -> None:
    """Write a broker's configuration to `out` (and its further files beside it)."""
    listener = replace(listener, beside=out.parent)
    listener.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name, text in render(kind, listener).items():
        write_private(out if not name else out.with_name(name), text.encode())


def reload(pid: int) -> None:
    """Tell a broker to read its configuration again; clients stay connected."""
    os.kill(pid, signal.SIGHUP)


def refresh() -> None:
    """Bring the running broker's configuration up to date, if the settings say where it is.

    Called after every enrolment and revocation. A failure is logged, not raised: the enrolment itself is done, and
    `headwater portal broker-config` repeats this step.
    """
    if settings.BROKER_CONFIG is None:
        return
    try:
        write(settings.BROKER_KIND, settings.BROKER_CONFIG, default_listener())
        if settings.BROKER_PID_FILE is not None:
            reload(int(Path(settings.BROKER_PID_FILE).read_text(encoding="ascii")))
    except (OSError, ValueError) as error:
        _LOG.error("the broker's configuration was not brought up to date: %s; run `portal broker-config`", error)  # noqa: TRY400


def _enrolled() -> Iterable[CollectorId]:
    rows = Collector.objects.filter(enrolled_at__isnull=False, revoked_at__isnull=True).order_by("collector_id")
    return [CollectorId(name) for name in rows.values_list("collector_id", flat=True)]


def _nats(listener: Listener) -> Mapping[str, str]:
    tls = _nats_tls(listener)
    users = [_nats_user(INGEST_NAME, _INGEST_PUBLISHES, _INGEST_HEARS)]
    for collector in _enrolled():
        up = (topics.batch_topic(collector), topics.state_topic(collector))
        down = (topics.ack_topic(collector), topics.command_topic(collector))
        users.append(_nats_user(collector, up, down))
    lines = [
        "# Written by `headwater portal broker-config`; it is written anew at every enrolment.",
        "server_name: headwater",
        "# NATS's own protocol: only for the server itself, and with the same certificates.",
        'host: "127.0.0.1"',
        "port: -1",
        f"tls {tls}",
        f"max_payload: {MAX_MESSAGE_BYTES}",
        f"jetstream {{ store_dir: {_quoted(listener.state_dir)} }}",
        f"mqtt {{ host: {_quoted(listener.host)}, port: {listener.port}, ack_wait: 10s, "
        f"max_ack_pending: {MAX_IN_FLIGHT}, tls {tls} }}",
        "authorization {",
        "  users = [",
        *(f"    {user}" for user in users),
        "  ]",
        "}",
    ]
    return {"": "\n".join(lines) + "\n"}


_INGEST_HEARS = (topics.batch_filter(), topics.state_filter())
_INGEST_PUBLISHES = tuple(
    topic("collector").replace("collector", "+")  # type: ignore[arg-type]
    for topic in (topics.ack_topic, topics.command_topic)
)


def _nats_tls(listener: Listener) -> str:
    files = listener.certificates
    return (
        f"{{ cert_file: {_quoted(files / 'server.pem')}, key_file: {_quoted(files / 'server.key')}, "
        f"ca_file: {_quoted(files / 'ca.pem')}, verify_and_map: true, timeout: 10 }}"
    )


def _nats_user(name: str, publishes: Iterable[str], hears: Iterable[str]) -> str:
    permissions = f"publish: {{ allow: {_subjects(publishes)} }}, subscribe: {{ allow: {_subjects(hears)} }}"
    return f'{{ user: "CN={name}", allowed_connection_types: ["MQTT"], permissions: {{ {permissions} }} }}'


def _subjects(names: Iterable[str]) -> str:
    """Return MQTT topics and filters as NATS subjects: / is ., + is *, # is >."""
    return json.dumps([name.replace("/", ".").replace("+", "*").replace("#", ">") for name in names])


def _quoted(value: object) -> str:
    return json.dumps(str(value))


def _mosquitto(listener: Listener) -> Mapping[str, str]:
    files, beside = listener.certificates, listener.beside
    main = [
        "# Written by `headwater portal broker-config`.",
        f"listener {listener.port} {listener.host}",
        "protocol mqtt",
        f"cafile {files / 'ca.pem'}",
        f"certfile {files / 'server.pem'}",
        f"keyfile {files / 'server.key'}",
        f"crlfile {beside / 'revoked.pem'}",
        "require_certificate true",
        "use_identity_as_username true",
        "allow_anonymous false",
        f"acl_file {beside / 'mosquitto.acl'}",
        "persistence true",
        f"persistence_location {listener.state_dir}/",
        "autosave_interval 5",
        "set_tcp_nodelay true",
        f"max_inflight_messages {MAX_IN_FLIGHT}",
        "max_queued_messages 100000",
        f"message_size_limit {MAX_MESSAGE_BYTES}",
    ]
    access = [
        f"user {INGEST_NAME}",
        *(f"topic read {name}" for name in _INGEST_HEARS),
        *(f"topic write {name}" for name in _INGEST_PUBLISHES),
        "",
        # The partition is not the collector's to choose: ingest refuses a batch that came on another one.
        "pattern write hw1/up/+/%u/batch",
        "pattern write hw1/up/+/%u/state",
        "pattern read hw1/down/%u/ack",
        "pattern read hw1/down/%u/command",
    ]
    revoked = Certificate.objects.filter(revoked_at__isnull=False).values_list("serial", "revoked_at")
    authority = CertificateAuthority.load(Path(settings.PORTAL_DIR) / "ca")
    crl = authority.revocation_list((int(serial, 16), at) for serial, at in revoked if at is not None)
    return {"": "\n".join(main) + "\n", "mosquitto.acl": "\n".join(access) + "\n", "revoked.pem": crl.decode()}


_RENDERERS: Mapping[str, Callable[[Listener], Mapping[str, str]]] = {"nats": _nats, "mosquitto": _mosquitto}
