"""`headwater portal ...`: run and look after the utility's portal. Bodies import Django only when they run."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import sys
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, Protocol

import click

from domain.errors import ConfigError, HeadwaterError, ResourceUnavailable

_ACTOR = "command line"


def _django() -> None:
    """Make Django ready; configuration faults come out as ConfigError, exit code 3."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.config.settings")
    import django

    django.setup()


def _print(result: dict[str, Any], *, as_json: bool, text: str) -> None:
    click.echo(json.dumps(result) if as_json else text)


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


class _PortalGroup(click.Group):
    """Says in one message what the database or a file system would not do: it is away, locked, read-only, not made."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; raises ResourceUnavailable for an error of the database or of a file."""
        try:
            return super().invoke(ctx)
        except HeadwaterError:
            raise
        except OSError as error:
            if error.errno == errno.EPIPE or error.filename is None:
                raise
            raise ResourceUnavailable(
                f"{error.filename}: {error.strerror}; correct the path, its owner or the space on its disk"
            ) from error
        except Exception as error:
            if not _is_database_fault(error):
                raise
            cure = "check DATABASE_URL or HEADWATER_PORTAL_DIR, and run `headwater portal init`"
            if "locked" in str(error):
                cure = "another program holds it; stop that one, or try again in a minute"
            raise ResourceUnavailable(f"the database does not answer: {str(error).strip()}; {cure}") from error


def _is_database_fault(error: Exception) -> bool:
    """Tell whether it is a database that is away, locked, read-only or without tables, and no fault of a statement."""
    faults = sys.modules.get("django.db")
    if faults is None:
        return False
    no_such_table = getattr(error.__cause__, "sqlstate", "") == "42P01"
    return no_such_table or isinstance(error, (faults.OperationalError, faults.InterfaceError))


@click.group(cls=_PortalGroup)
def portal() -> None:
    """Run and look after the utility's portal."""


@portal.command()
@json_option
def init(as_json: bool) -> None:
    """Make directories, keys, certificate authority and database tables; run it again at every upgrade."""
    from portal.setup import prepare_state_directory

    prepare_state_directory()
    _django()
    from portal.setup import initialise

    done = initialise()
    _print(done, as_json=as_json, text=f"The portal's state is ready in {done['portal_dir']}.")


@portal.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def manage(arguments: tuple[str, ...]) -> None:
    """Run one of Django's management commands, such as `shell` or `createsuperuser`."""
    _django()
    from django.core.management import execute_from_command_line

    execute_from_command_line(["headwater portal manage", *arguments])


@portal.command()
@click.argument("file", type=click.File("r", encoding="utf-8"))
@json_option
def load(file: IO[str], as_json: bool) -> None:
    """Import premises, accounts, residents, meters and installations from a JSON file; again changes nothing."""
    try:
        data = json.load(file)
    except ValueError as error:
        raise ConfigError(f"{file.name}: not JSON: {error}") from error
    _django()
    from portal.loading import load as load_rows

    made = load_rows(data)
    _print({"made": made}, as_json=as_json, text=", ".join(f"{n} {name}" for name, n in made.items()) or "nothing new")


@portal.command("enrol-code")
@click.argument("collector")
@json_option
def enrol_code(collector: str, as_json: bool) -> None:
    """Print a one-time code with which the box COLLECTOR enrols itself. It is not shown again."""
    _django()
    from portal.fleet.services import make_enrolment_code

    code, row = make_enrolment_code(collector, label=_ACTOR)
    done = {"collector": collector, "code": code, "expires_at": row.expires_at.isoformat()}
    _print(done, as_json=as_json, text=code)


@portal.group("command")
def command_group() -> None:
    """Give a collector an order; it is sent until the collector reports it done, or it expires."""


_expires = click.option(
    "--expires-in", "expires_min", default=60, show_default=True, type=click.IntRange(1, 7 * 24 * 60), help="Minutes."
)


@command_group.command("read-now")
@click.argument("collector")
@click.option("--meter", "meters", multiple=True, required=True, help="A meter's id. May be repeated.")
@_expires
@json_option
def read_now(collector: str, meters: tuple[str, ...], expires_min: int, as_json: bool) -> None:
    """Have the box COLLECTOR read meters at once; their reads overtake any backlog."""
    _queue(collector, "read-now", {"meters": list(meters)}, expires_min=expires_min, as_json=as_json)


@command_group.command("configure")
@click.argument("collector")
@click.argument("file", type=click.File("r", encoding="utf-8"))
@click.option(
    "--try-for",
    "try_s",
    default=600,
    show_default=True,
    type=click.IntRange(5, 86_400),
    help="Seconds in which the collector must reach the portal with it.",
)
@_expires
@json_option
def configure(collector: str, file: IO[str], try_s: int, expires_min: int, as_json: bool) -> None:
    """Have the box COLLECTOR try FILE: [poll], [[bus]], [[meter]] and what may change of [portal] in collector.toml.

    The collector checks it, tries it, and puts its old file back when it cannot reach the portal with the new one.
    """
    _queue(collector, "configure", {"toml": file.read(), "try_s": try_s}, expires_min=expires_min, as_json=as_json)


def _queue(collector: str, kind: str, body: dict[str, Any], *, expires_min: int, as_json: bool) -> None:
    _django()
    from datetime import timedelta

    from portal.core.errors import Refused
    from portal.fleet.commands import queue_command
    from portal.fleet.models import Collector

    row = Collector.objects.filter(collector_id=collector).first()
    if row is None:
        raise Refused("collector-id", f"{collector}: no such collector; `headwater portal manage shell` lists them")
    queued = queue_command(row, kind, body, expires_in=timedelta(minutes=expires_min), label=_ACTOR)
    done = {"collector": collector, "kind": kind, "command": queued.public_id, "nonce": bytes(queued.nonce).hex()}
    done["expires_at"] = queued.expires_at.isoformat()
    _print(
        done,
        as_json=as_json,
        text=f"{kind} for {collector} waits to be sent; the staff page Commands tells what became of it",
    )


@portal.command("revoke-collector")
@click.argument("collector")
@click.option("--reason", required=True, help="Why; it goes to the audit log.")
@json_option
def revoke_collector(collector: str, reason: str, as_json: bool) -> None:
    """Revoke a collector's keys and certificates. What it delivered stays."""
    _django()
    from portal.core.errors import Refused
    from portal.fleet import services
    from portal.fleet.models import Collector

    row = Collector.objects.filter(collector_id=collector).first()
    if row is None:
        raise Refused("collector-id", f"{collector}: no such collector; `headwater portal manage shell` lists them")
    services.revoke_collector(row, reason=reason, label=_ACTOR)
    _print({"collector": collector, "revoked": True}, as_json=as_json, text=f"{collector} is revoked.")


@portal.command()
@click.argument("email", required=False)
@click.option("--all", "everyone", is_flag=True, help="One token for every resident (demo and tests).")
@json_option
def token(email: str | None, everyone: bool, as_json: bool) -> None:
    """Print an API token with which EMAIL's own usage can be read. It is not shown again."""
    if (email is None) is not everyone:
        raise click.UsageError("give one EMAIL, or --all")
    _django()
    from portal.core.errors import Refused
    from portal.core.models import User
    from portal.core.tokens import make_token

    users = User.objects.filter(is_active=True, is_staff=False).order_by("pk")
    if email is not None:
        users = User.objects.filter(is_active=True, email=email.lower())
        if not users:
            raise Refused("user", "nobody signs in with this address")
    tokens = {user.email: make_token(user, name="command line", label=_ACTOR)[0] for user in users}
    _print(tokens, as_json=as_json, text="\n".join(tokens.values()))


@portal.command("broker-config")
@click.option("--kind", type=click.Choice(["nats", "mosquitto"]), default="nats", show_default=True)
@click.option("--host", help="Listen on this address (default: from HEADWATER_BROKER_URL).")
@click.option("--port", type=click.IntRange(1, 65535), help="Listen on this port (default: from HEADWATER_BROKER_URL).")
@click.option("--state-dir", type=click.Path(path_type=Path), help="Where the broker keeps queued messages.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True)
@click.option("--reload-pid", type=int, help="Then tell this running broker to read it again.")
@json_option
def broker_config(
    kind: str,
    host: str | None,
    port: int | None,
    state_dir: Path | None,
    out: Path,
    reload_pid: int | None,
    as_json: bool,
) -> None:
    """Write the broker's configuration for the collectors that are enrolled now."""
    _django()
    from dataclasses import replace

    from portal.fleet import broker

    listener = broker.default_listener()
    listener = replace(listener, host=host or listener.host, port=port or listener.port)
    listener = replace(listener, state_dir=(state_dir or listener.state_dir).absolute())
    broker.write(kind, out.absolute(), listener)
    if reload_pid is not None:
        _reload(reload_pid)
    done = {"kind": kind, "file": str(out), "host": listener.host, "port": listener.port}
    _print(done, as_json=as_json, text=f"{kind} configuration for port {listener.port} written to {out}")


def _reload(pid: int) -> None:
    from portal.fleet import broker

    try:
        broker.reload(pid)
    except OSError as error:
        raise ResourceUnavailable(
            f"process {pid} could not be told to reload: {error.strerror}; is the broker running?"
        ) from error


class _Partitions(click.ParamType):  # type: ignore[type-arg]
    """Ingest partitions as `3`, `0-7` or `0,2,8-15`."""

    name = "partitions"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> frozenset[int]:
        """Return the set of partitions that a text names."""
        from domain.ids import PARTITIONS

        found: set[int] = set()
        for part in str(value).split(","):
            first, dash, last = part.partition("-")
            if not first.isdecimal() or (dash and not last.isdecimal()):
                self.fail(f"{part!r} is neither a partition nor a range; expected such as 0-7 or 0,2,8-15", param, ctx)
            low, high = int(first), int(last or first)
            if not low <= high < PARTITIONS:
                self.fail(f"{part!r}: partitions are 0 to {PARTITIONS - 1}, the lower one first", param, ctx)
            found.update(range(low, high + 1))
        return frozenset(found)


@portal.command()
@click.option(
    "--partitions",
    type=_Partitions(),
    metavar="0-7",
    help="Serve only the collectors of these partitions (0 to 15), beside other workers that serve the rest.",
)
@json_option
def ingest(partitions: frozenset[int] | None, as_json: bool) -> None:
    """Take batches off the broker until stopped: verify, store once, acknowledge after the commit."""
    _serve_checks()
    from portal.ingest.consumer import Consumer

    consumer = Consumer(partitions=partitions)
    _run_until_signalled(consumer)
    _print(asdict(consumer.counters), as_json=as_json, text=consumer.counters.line(connected=False, waiting=0))


@portal.command()
@click.option("--once", is_flag=True, help="Sweep the schedule once and stop.")
@json_option
def worker(once: bool, as_json: bool) -> None:
    """Run background tasks and the schedule until stopped."""
    _serve_checks()
    from portal.core.clock import now
    from portal.notifications.sending import send_due
    from portal.worker import Worker, run_queued_tasks, sweep

    if once:
        names, tasks, mail = sweep(now()), run_queued_tasks(), asdict(send_due())
        done = {"jobs": names, "tasks": tasks, "messages": mail}
        _print(done, as_json=as_json, text=f"jobs: {', '.join(names) or 'none due'}; {mail['sent']} messages sent")
        return
    _run_until_signalled(Worker())


@portal.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(1, 65535), default=8000, show_default=True)
@click.option("--fd", type=int, help="Serve on this open socket instead.")
@json_option
def serve(host: str, port: int, fd: int | None, as_json: bool) -> None:
    """Serve the web pages and the API."""
    if fd is None:
        _refuse_taken_port(host, port)
    inherited = None if fd is None else _inherited_socket(fd)
    _serve_checks(pages=True)
    _refuse_open_demo(host)
    import uvicorn

    if as_json:
        click.echo(json.dumps({"host": host, "port": port, "fd": fd}))
    # uvicorn stops at either signal and then raises it once more: by then it has done its work.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    config = uvicorn.Config(
        "portal.config.asgi:application",
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        timeout_graceful_shutdown=5,
    )
    uvicorn.Server(config).run(None if inherited is None else [inherited])


def _refuse_open_demo(host: str) -> None:
    from django.conf import settings

    from portal.config.environment import is_loopback

    if settings.DEMO and not is_loopback(host):
        raise ConfigError(
            f"--host {host}: a demo (HEADWATER_DEMO=True) shows pages in clear text, on this machine alone; "
            "use --host 127.0.0.1"
        )


def _refuse_taken_port(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ResourceUnavailable(f"{host}:{port}: {error.strerror}; choose another --port") from error


def _inherited_socket(fd: int) -> socket.socket:
    """Return the open socket of this number as what it is, TCP or a Unix one.

    uvicorn's own `fd` takes every socket for a Unix one; then asyncio leaves out TCP_NODELAY, and the second packet of
    each answer waits 40 ms for the browser's acknowledgement of the first.
    """
    try:
        return socket.socket(fileno=fd)
    except OSError as error:
        raise ResourceUnavailable(
            f"--fd {fd}: {error.strerror}; pass the number of a socket that is open and inherited"
        ) from error


@portal.command()
@json_option
def rebuild(as_json: bool) -> None:
    """Make all derived tables anew from the signed batches, which are the source of truth. Ingest waits meanwhile."""
    _django()
    from portal.ingest.rebuild import rebuild as rebuild_rows

    batches = rebuild_rows()
    _print({"batches": batches}, as_json=as_json, text=f"made anew from {batches} batches")


def _serve_checks(*, pages: bool = False) -> None:
    """Make Django ready and refuse what would lose data: no stored key, tables missing, a database that forgets.

    pages  whether what only pages need (such as front-end assets) must be in order too.
    """
    _django()
    from django.core.checks import Error, Tags, run_checks
    from django.db import DatabaseError, connection
    from django.db.migrations.executor import MigrationExecutor

    # The other checks load every page, which ingest and the worker do without.
    errors = [message for message in run_checks(tags=None if pages else [Tags.security]) if isinstance(message, Error)]
    faults = [f"{m.msg} {m.hint or ''}".strip() for m in errors if pages or m.id == "portal.E001"]
    try:
        durability = run_checks(tags=[Tags.database], databases=["default"])
        faults += [f"{m.msg} {m.hint or ''}" for m in durability if m.id and m.id in _DURABILITY]
        executor = MigrationExecutor(connection)
        if executor.migration_plan(executor.loader.graph.leaf_nodes()):
            faults.append("The database's tables are not those of this version. Run `headwater portal init`.")
    except DatabaseError as error:
        raise ResourceUnavailable(
            f"the database does not answer: {str(error).strip()}; check DATABASE_URL, and run `headwater portal init`"
        ) from error
    finally:
        connection.close()
    if faults:
        raise ConfigError(faults)


_DURABILITY = frozenset({"portal.E002", "portal.E003"})


class _Stoppable(Protocol):
    def run(self) -> None: ...

    def stop(self) -> None: ...


def _run_until_signalled(process: _Stoppable) -> None:
    """Run until SIGTERM or SIGINT, which let it finish what it has in hand."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: process.stop())
    process.run()


def _add_groups() -> None:
    """Add the groups that have a file of their own; they use what stands above."""
    from portal.bill_cli import bill_group
    from portal.import_cli import import_group
    from portal.ledger_cli import ledger_group
    from portal.messages_cli import messages_group
    from portal.rates_cli import rates_group
    from portal.reads_cli import reads_group
    from portal.reconcile_cli import reconcile_bills

    for command in (bill_group, import_group, ledger_group, messages_group, rates_group, reads_group, reconcile_bills):
        portal.add_command(command)


_add_groups()
