"""A configuration from the portal: kept when the portal is reached with it, else put back, whatever is killed when."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from domain.errors import ConfigError
from domain.reading import EventKind
from gateway import reconfigure
from gateway import trial as trial_module
from gateway.config import PortalConfig, load
from gateway.trial import Trials
from sync.signing import Command, SigningKey, sign_command
from sync.topics import command_topic
from tests.broker import Broker, free_port
from tests.gateway.street import Gateway, Street, until
from tests.sync.conftest import FakePortal

TOML = """
[poll]
every_s = {every_s}

[[bus]]
name = "pit"
kind = "tcp"
host = "127.0.0.1"
tcp_port = {port}

[[meter]]
id = "SIM-1"
bus = "pit"
driver = "modbus-tcp"
model = "arad-octave"
address = "1"
"""


def whole(every_s: int = 60) -> str:
    return '[collector]\nid = "hw-test-1"\n' + TOML.format(every_s=every_s, port=1502)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A collector.toml without a portal."""
    file = tmp_path / "collector.toml"
    file.write_text(whole())
    return file


class Killed(BaseException):
    """The process ends here."""


def killed_at_write(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Let the process end before a write of this number, counted from now."""
    real, count = trial_module._write, iter(range(1000))

    def write(path: Path, data: bytes) -> None:
        if next(count) == number:
            raise Killed
        real(path, data)

    monkeypatch.setattr(trial_module, "_write", write)


@pytest.mark.parametrize("number", range(4))
def test_a_kill_while_it_begins_leaves_one_whole_configuration(
    path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    with monkeypatch.context() as patched:
        killed_at_write(patched, number)
        try:
            Trials(path).begin(TOML.format(every_s=30, port=1502), nonce="00", try_s=60)
        except Killed:
            assert number < 3
    trials = Trials(path)
    trials.at_start()
    every_s = load(path).poll.every_s
    going_on = trials.current() is not None and not trials.current().put_back  # type: ignore[union-attr]
    assert (every_s, going_on) == ((30, True) if number == 3 else (60, False))


@pytest.mark.parametrize("number", range(3))
def test_a_kill_while_it_is_put_back_ends_with_the_old_one(
    path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    trials = Trials(path)
    assert trials.begin(TOML.format(every_s=30, port=1502), nonce="00", try_s=60)
    trials.at_start()
    with monkeypatch.context() as patched:
        killed_at_write(patched, number)
        try:
            trials.put_back("no portal")
        except Killed:
            assert number < 2
    again = Trials(path)
    again.at_start()
    if number == 0:  # the decision itself was not on disk: the trial goes on
        assert (load(path).poll.every_s, again.current().put_back) == (30, "")  # type: ignore[union-attr]
        return
    assert (load(path).poll.every_s, again.current().put_back) == (60, "no portal")  # type: ignore[union-attr]


def test_what_cannot_be_used_or_belongs_to_the_machine_changes_nothing(path: Path) -> None:
    before = path.read_bytes()
    for text, told in (
        ("[collector]\nid = 'other'\n", "belongs to the machine"),
        ("[portal]\nsigning_key = '/etc/shadow'\n", "belongs to the machine"),
        ("[[meter]]\nid = 'A'\n", "bus"),
        ("poll = [", "not TOML"),
        (TOML.format(every_s=30, port=1502).replace("arad-octave", "no-such-model"), "no-such-model"),
    ):
        with pytest.raises(ConfigError, match=told):
            Trials(path).begin(text, nonce="00")
        assert path.read_bytes() == before
        assert Trials(path).current() is None


def test_a_file_changed_by_hand_meanwhile_is_left_alone(path: Path) -> None:
    trials = Trials(path)
    trials.begin(TOML.format(every_s=30, port=1502), nonce="00")
    path.write_text(whole(every_s=45))
    trials.at_start()
    trials.put_back("no portal")
    assert load(path).poll.every_s == 45


def test_one_at_a_time_and_three_starts_at_most(path: Path) -> None:
    trials = Trials(path)
    trials.begin(TOML.format(every_s=30, port=1502), nonce="00")
    with pytest.raises(ConfigError, match="being tried"):
        trials.begin(TOML.format(every_s=15, port=1502), nonce="01")
    for _ in range(3):
        trials.at_start()
        assert load(path).poll.every_s == 30
    trials.at_start()
    assert load(path).poll.every_s == 60


def test_a_full_disk_during_a_trial_is_no_reason_not_to_start(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Trials(path).begin(TOML.format(every_s=30, port=1502), nonce="00")

    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(trial_module, "_write", full)
    monkeypatch.setattr("gateway.service.Service", lambda config, trials: config)
    assert reconfigure._make_service(path).poll.every_s == 30  # type: ignore[attr-defined]


# With real processes


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Street]:
    made = Street(tmp_path_factory.mktemp("street"), speed=1.0, mbus=0, rtu=0, tcp=1)
    yield made
    made.close()


@pytest.fixture
def office(tmp_path: Path, street: Street) -> Iterator[tuple[Gateway, FakePortal, Callable[..., str]]]:
    """A gateway, its portal, and a function that sends it a configuration and returns the command's number."""
    config = street.config(tmp_path, every_s=1)
    key, portal_key = SigningKey.generate(), SigningKey.generate()
    for name, pem in (("signing.key", key.pem()), ("portal.pem", portal_key.verify_key.pem())):
        (tmp_path / name).write_bytes(pem)
        (tmp_path / name).chmod(0o600)
    with Broker.nats(tmp_path / "broker") as broker:
        section = PortalConfig(broker.url, tmp_path / "signing.key", tmp_path / "portal.pem", seal_every_s=1)
        gateway = Gateway(replace(config, portal=section))
        portal = FakePortal(broker, key, portal_key).start()
        until(portal.ready.is_set, what="the portal")

        def send(text: str, *, try_s: int) -> str:
            now = datetime.now(UTC)
            body = {"toml": text, "try_s": try_s}
            command = Command(secrets.token_bytes(16), "configure", now, now + timedelta(hours=1), body)
            signed = sign_command(command, collector=config.collector.id, key=portal_key)
            portal.client.publish(command_topic(config.collector.id), signed, qos=1)
            return command.nonce.hex()

        yield gateway, portal, send
        portal.stop()


def results(portal: FakePortal) -> dict[str, str]:
    """Return what became of each command, by its number."""
    events = [stored.event for _, batch in list(portal.committed.values()) for stored in batch.events]
    done = [event.detail for event in events if event.kind is EventKind.COMMAND_DONE]
    return {str(detail["nonce"]): str(detail["result"]) for detail in done}


def as_sent(gateway: Gateway, **portal: object) -> str:
    """Return the standing configuration as the office would send it."""
    text = gateway.path.read_text()
    rest = text[text.index("[poll]") :]
    rows = "".join(f"{key} = {json.dumps(value)}\n" for key, value in portal.items())
    return f"[portal]\n{rows}\n{rest}"


def all_arrived(gateway: Gateway, portal: FakePortal) -> None:
    """Every read of the append log was committed once, however often the collector began anew."""
    until(lambda: {line["append_seq"] for line in gateway.appended()} <= set(portal.append_seqs()), what="the backlog")
    assert len(portal.append_seqs()) == len(set(portal.append_seqs()))


def test_a_good_one_is_kept_and_a_bad_one_is_put_back(
    office: tuple[Gateway, FakePortal, Callable[..., str]],
) -> None:
    gateway, portal, send = office
    with gateway.running():
        until(lambda: portal.committed, what="a first batch")
        refused = send("[poll]\nevery_s = -1\n", try_s=5)
        until(lambda: refused in results(portal), what="the answer to nonsense")
        assert "every_s" in results(portal)[refused]

        good = send(as_sent(gateway).replace("every_s = 1", "every_s = 2"), try_s=60)
        until(lambda: good in results(portal), what="the answer to a good one")
        assert results(portal)[good] == "ok"
        assert load(gateway.path).poll.every_s == 2

        bad = send(as_sent(gateway, broker=f"mqtt://127.0.0.1:{free_port()}"), try_s=5)
        until(lambda: bad in results(portal), what="the answer to a bad one")
        assert "not reached within 5 s" in results(portal)[bad]
        assert load(gateway.path).portal.address[1] == portal.broker.port  # type: ignore[union-attr]
        all_arrived(gateway, portal)
    assert gateway.log().count("stopped") == 4


def test_a_kill_during_the_trial_changes_nothing_of_it(
    office: tuple[Gateway, FakePortal, Callable[..., str]],
) -> None:
    gateway, portal, send = office
    gateway.start()
    until(lambda: portal.committed, what="a first batch")
    before = gateway.path.read_bytes()
    bad = send(as_sent(gateway, broker=f"mqtt://127.0.0.1:{free_port()}"), try_s=600)
    until(lambda: gateway.path.read_bytes() != before, what="the trial")
    for runs in (2, 3, 4):
        until(lambda runs=runs: gateway.log().count("reads 1 meters") == runs, what="a run")  # type: ignore[misc]
        gateway.kill()
        gateway.start()
    until(lambda: bad in results(portal), what="the answer")
    assert "starts and the portal was never reached" in results(portal)[bad]
    all_arrived(gateway, portal)
    assert gateway.stop() == 0
