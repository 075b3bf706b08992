"""Links on real pseudo-terminals and sockets: one owner, deadlines, stamps, and what a person is told."""

from __future__ import annotations

import os
import select
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from domain.clock import ManualClock, ScaledClock, SystemClock
from domain.errors import ConfigError, ResourceUnavailable
from drivers import link as link_module
from drivers.base import SCALED_SLACK_REAL_S, Deadline
from drivers.errors import LinkDown
from drivers.link import LinkSettings, TcpLink, open_link
from tests.drivers.support import START, PtyMeter


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def test_bytes_go_both_ways_and_the_last_one_is_stamped() -> None:
    clock = SystemClock()
    with PtyMeter(lambda data: [data[::-1]]) as meter:
        link = open_link(kind="serial", port=meter.port, clock=clock)
        opened_at = link.last_byte_at
        link.send(bytes(range(256)))
        assert link.receive(256, Deadline(clock, 5)) == bytes(range(255, -1, -1))
        assert link.last_byte_at > opened_at
        link.close()
        link.close()


def test_fewer_bytes_come_only_at_the_deadline() -> None:
    clock = SystemClock()
    with PtyMeter(lambda _: [b"ab"]) as meter:
        link = open_link(kind="serial", port=meter.port, clock=clock)
        link.send(b"?")
        deadline = Deadline(clock, 0.2)
        assert link.receive(3, deadline) == b"ab"
        assert deadline.expired
        link.close()


def test_unasked_bytes_are_dropped() -> None:
    clock = SystemClock()
    with PtyMeter(lambda data: [b"late"] if data == b"1" else [b"now"]) as meter:
        link = open_link(kind="serial", port=meter.port, clock=clock)
        link.send(b"1")
        assert link.receive(1, Deadline(clock, 5)) == b"l"
        link.discard_input()
        link.send(b"2")
        assert link.receive(3, Deadline(clock, 5)) == b"now"
        link.close()


def test_a_port_has_one_owner_until_it_is_given_back() -> None:
    clock = SystemClock()
    with PtyMeter(lambda data: [data]) as meter:
        first = open_link(kind="serial", port=meter.port, clock=clock)
        with pytest.raises(ResourceUnavailable, match="in use.*fuser"):
            open_link(kind="serial", port=meter.port, clock=clock)
        first.close()
        open_link(kind="serial", port=meter.port, clock=clock).close()


def test_a_killed_owner_leaves_the_port_free() -> None:
    clock = SystemClock()
    with PtyMeter(lambda data: [data]) as meter:
        program = (
            "import sys; from domain.clock import SystemClock; from drivers.link import open_link;"
            "link = open_link(kind='serial', port=sys.argv[1], clock=SystemClock());"
            "print('open', flush=True); sys.stdin.read()"
        )
        with subprocess.Popen(
            [sys.executable, "-c", program, meter.port], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as owner:
            assert owner.stdout is not None
            assert owner.stdout.readline() == b"open\n"
            with pytest.raises(ResourceUnavailable, match="in use"):
                open_link(kind="serial", port=meter.port, clock=clock)
            owner.kill()
        open_link(kind="serial", port=meter.port, clock=clock).close()


def test_a_missing_device_and_a_plain_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(ResourceUnavailable, match="no such device.*by-id"):
        open_link(kind="serial", port=str(tmp_path / "ttyUSB9"), clock=SystemClock())
    plain = tmp_path / "plain"
    plain.touch()
    with pytest.raises(ResourceUnavailable, match="serial device"):
        open_link(kind="serial", port=str(plain), clock=SystemClock())
    assert ResourceUnavailable("x").exit_code == 10


def test_a_pulled_adapter_is_link_down_and_reopening_says_what_is_missing() -> None:
    clock = SystemClock()
    with PtyMeter(lambda data: [data]) as meter:
        link = open_link(kind="serial", port=meter.port, clock=clock)
        meter.unplug()
        with pytest.raises(LinkDown):
            link.receive(1, Deadline(clock, 5))
        assert not link.is_open
        with pytest.raises(LinkDown, match="not open"):
            link.send(b"x")
        with pytest.raises(ResourceUnavailable):
            link.reopen()


def test_a_tcp_endpoint_that_closes_is_link_down_and_can_be_reopened(listener: socket.socket) -> None:
    clock = SystemClock()
    host, port = listener.getsockname()

    def serve() -> None:
        for _ in range(2):
            connection, _ = listener.accept()
            with connection:
                connection.sendall(connection.recv(10))

    thread = threading.Thread(target=serve)
    thread.start()
    link = open_link(kind="tcp", host=host, tcp_port=port, clock=clock)
    assert (link.kind, link.char_time_s) == ("tcp", 0.0)
    link.send(b"one")
    assert link.receive(3, Deadline(clock, 5)) == b"one"
    with pytest.raises(LinkDown, match="closed by the other side"):
        link.receive(1, Deadline(clock, 5))
    link.reopen()
    link.send(b"two")
    assert link.receive(3, Deadline(clock, 5)) == b"two"
    thread.join()
    link.close()


@pytest.fixture
def tcp_pair(listener: socket.socket) -> Iterator[tuple[TcpLink, socket.socket]]:
    """A link and the other side of it."""
    host, port = listener.getsockname()
    link = open_link(kind="tcp", host=host, tcp_port=port, clock=SystemClock())
    assert isinstance(link, TcpLink)
    other, _ = listener.accept()
    with other:
        yield link, other
    link.close()


def test_what_came_beyond_the_bytes_asked_for_is_the_next_answers(tcp_pair: tuple[TcpLink, socket.socket]) -> None:
    link, other = tcp_pair
    deadline = Deadline(SystemClock(), 5)
    other.sendall(b"abcdef")
    assert link.receive(2, deadline) == b"ab"
    stamped_at = link.last_byte_at
    assert (link.receive(3, deadline), link.last_byte_at) == (b"cde", stamped_at)
    other.sendall(b"gh")
    assert link.receive(3, deadline) == b"fgh"
    assert link.last_byte_at > stamped_at


def test_what_came_unasked_over_tcp_is_dropped_whether_it_was_read_or_not(
    tcp_pair: tuple[TcpLink, socket.socket],
) -> None:
    link, other = tcp_pair
    other.sendall(b"late")
    assert link.receive(1, Deadline(SystemClock(), 5)) == b"l"
    other.sendall(b"later")
    assert select.select([link.fileno()], [], [], 5)[0]
    link.discard_input()
    other.sendall(b"now")
    assert link.receive(3, Deadline(SystemClock(), 5)) == b"now"


def test_a_socket_is_waited_for_until_the_deadline_and_no_longer(tcp_pair: tuple[TcpLink, socket.socket]) -> None:
    link, other = tcp_pair
    clock = SystemClock()
    for wait_s in (0.3, 0.02, 0.15, 0.0):
        other.sendall(b"ab")
        deadline = Deadline(clock, wait_s)
        assert link.receive(3, deadline) in ((b"ab",) if wait_s else (b"ab", b""))
        assert deadline.expired
        with socket.socket(fileno=os.dup(link.fileno())) as same:
            told = same.getsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, 16)
        whole_s, part_us = struct.unpack("@ll", told)
        # The kernel counts in ticks; it was told no more than what was left.
        assert not wait_s or whole_s + part_us / 1e6 <= wait_s + 0.011
        link.discard_input()
    assert Deadline(clock, 0.2).within(5).remaining_s() <= 0.2


def test_a_device_that_closes_while_nobody_asks_is_noticed_before_the_next_question(
    tcp_pair: tuple[TcpLink, socket.socket],
) -> None:
    link, other = tcp_pair
    other.close()
    assert select.select([link.fileno()], [], [], 5)[0]
    with pytest.raises(LinkDown, match="closed by the other side"):
        link.discard_input()


def test_a_device_that_takes_no_bytes_is_link_down(
    tcp_pair: tuple[TcpLink, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_module, "SEND_TIMEOUT_S", 0.1)
    link, _ = tcp_pair
    link.reopen()
    with pytest.raises(LinkDown, match="takes no more bytes"):
        link.send(bytes(64 * 1024 * 1024))


def test_a_refused_connection_names_host_and_port(listener: socket.socket) -> None:
    host, port = listener.getsockname()
    listener.close()
    with pytest.raises(ResourceUnavailable, match=f"{host}:{port}.*refused"):
        open_link(kind="tcp", host=host, tcp_port=port, clock=SystemClock())


def test_all_faults_of_the_settings_are_reported_together() -> None:
    with pytest.raises(ConfigError) as caught:
        LinkSettings(kind="serial", port="", baudrate=0, parity="mark", stop_bits=3)
    assert len(caught.value.faults) == 4
    with pytest.raises(ConfigError, match="expected serial or tcp"):
        LinkSettings(kind="usb")


@pytest.mark.parametrize(("parity", "stop_bits", "chars"), [("even", 1, 11), ("none", 1, 10), ("none", 2, 11)])
def test_a_characters_time_follows_the_settings(parity: str, stop_bits: int, chars: int) -> None:
    settings = LinkSettings(kind="serial", port="x", baudrate=2400, parity=parity, stop_bits=stop_bits)
    assert settings.char_time_s == chars / 2400


def test_a_deadline_runs_in_the_clocks_time() -> None:
    clock = ManualClock(START)
    deadline = Deadline(clock, 10)
    inner = deadline.within(3)
    assert deadline.within(60).remaining_s() == 10
    clock.advance(4)
    assert (deadline.remaining_s(), inner.expired, inner.remaining_s()) == (6, True, 0)
    clock.step(-3600)
    assert deadline.remaining_s() == 6


def test_a_fast_clock_leaves_some_real_time() -> None:
    clock = ScaledClock(speed=100, anchor_s=0, start=datetime(2026, 1, 1, tzinfo=UTC))
    remaining_s = Deadline(clock, 1).remaining_s()
    assert clock.real_seconds(remaining_s) <= 0.01 + SCALED_SLACK_REAL_S
    assert remaining_s > timedelta(seconds=1).total_seconds()
