"""A serial port or a TCP socket as a Link: bytes in, bytes out, time-outs in clock time.

A serial port is polled here, so that a reply of known length is read at the speed of the line (pyserial sets the port
up; its own time-outs would reconfigure the port at every change); a socket waits in the kernel, because at a thousand
reads a second each call more is felt. A port has one owner: flock keeps out a second one of ours and is given back by
the kernel however we die.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import socket
import struct
import termios
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import serial

from domain.errors import ConfigError, ResourceUnavailable
from drivers.errors import LinkDown

if TYPE_CHECKING:
    from datetime import datetime

    from domain.clock import Clock
    from drivers.base import Deadline

PARITIES = {"none": serial.PARITY_NONE, "even": serial.PARITY_EVEN, "odd": serial.PARITY_ODD}
CONNECT_TIMEOUT_S = 5.0
SEND_TIMEOUT_S = 5.0
CHUNK_BYTES = 4096
CLOSED = "was closed by the other side"


@dataclass(frozen=True, slots=True)
class LinkSettings:
    """How to open a line: a serial port (port, baudrate, parity, stop_bits) or a TCP endpoint (host, tcp_port)."""

    kind: str
    port: str = ""
    baudrate: int = 2400
    parity: str = "even"
    stop_bits: int = 1
    host: str = ""
    tcp_port: int = 0

    def __post_init__(self) -> None:
        faults = []
        if self.kind not in ("serial", "tcp"):
            faults.append(f"kind = {self.kind!r}   expected serial or tcp")
        if self.kind == "serial" and not self.port:
            faults.append("port is missing   expected a serial device such as /dev/ttyUSB0")
        if self.kind == "serial" and self.baudrate <= 0:
            faults.append(f"baudrate = {self.baudrate}   expected 300 to 115200")
        if self.kind == "serial" and self.parity not in PARITIES:
            faults.append(f"parity = {self.parity!r}   expected one of {', '.join(PARITIES)}")
        if self.kind == "serial" and self.stop_bits not in (1, 2):
            faults.append(f"stop_bits = {self.stop_bits}   expected 1 or 2")
        if self.kind == "tcp" and not (self.host and 0 < self.tcp_port < 65536):
            faults.append(f"host = {self.host!r}, tcp_port = {self.tcp_port}   expected a host and a port 1 to 65535")
        if faults:
            raise ConfigError(faults)

    @property
    def char_time_s(self) -> float:
        """Seconds of one character on the wire: start bit, 8 data bits, parity, stop bits; 0.0 for TCP."""
        if self.kind == "tcp":
            return 0.0
        return (9 + (self.parity != "none") + self.stop_bits) / self.baudrate

    def __str__(self) -> str:
        if self.kind == "tcp":
            return f"{self.host}:{self.tcp_port}"
        return f"{self.port} at {self.baudrate} 8{self.parity[0].upper()}{self.stop_bits}"


class OpenLink:
    """An open line. `reopen` after LinkDown makes it whole again; see drivers.base.Link for the rest."""

    def __init__(self, settings: LinkSettings, clock: Clock) -> None:
        self.settings, self.kind, self.char_time_s = settings, settings.kind, settings.char_time_s
        self._clock = clock
        self.is_open = False
        self.last_byte_at: tuple[datetime, float] = (clock.now(), clock.monotonic())
        self.reopen()

    def reopen(self) -> None:
        """Open the line anew. raises ResourceUnavailable naming the fix."""
        self.close()
        self._open()
        self.is_open = True

    def send(self, data: bytes) -> None:
        """Hand all bytes to the line; the reply's deadline counts the time that they take on the wire."""
        if not self.is_open:
            raise self._not_open()
        try:
            self._send(data)
        except BlockingIOError:
            raise self._down("takes no more bytes; is anything connected to it?") from None
        except OSError as error:
            raise self._down(_reason(error)) from error

    def receive(self, size: int, deadline: Deadline) -> bytes:
        """Return `size` bytes, fewer only when the deadline passes; the last byte's arrival is stamped."""
        if not self.is_open:
            raise self._not_open()
        try:
            return self._receive(size, deadline)
        except OSError as error:
            raise self._down(_reason(error)) from error

    def discard_input(self) -> None:
        """Drop what came unasked: late replies, noise."""
        if not self.is_open:
            raise self._not_open()
        try:
            self._discard()
        except OSError as error:
            raise self._down(_reason(error)) from error

    def close(self) -> None:
        """Give the line back."""
        self.is_open = False
        self._close()

    def _open(self) -> None:
        raise NotImplementedError

    def _send(self, data: bytes) -> None:
        """Hand all bytes over; BlockingIOError when the line takes none for SEND_TIMEOUT_S."""
        raise NotImplementedError

    def _receive(self, size: int, deadline: Deadline) -> bytes:
        raise NotImplementedError

    def _discard(self) -> None:
        raise NotImplementedError

    def _close(self) -> None:
        raise NotImplementedError

    def _not_open(self) -> LinkDown:
        return LinkDown(f"{self.settings} is not open; it is opened again at the next round")

    def _down(self, reason: str) -> LinkDown:
        self.close()
        return LinkDown(f"{self.settings} {reason}")


class SerialLink(OpenLink):
    """A serial port, polled: a reply of known length is read at the speed of the line."""

    _device: serial.Serial | None = None
    _fd = -1

    def _open(self) -> None:
        self._device = _open_serial(self.settings)
        self._fd = self._device.fileno()

    def _send(self, data: bytes) -> None:
        give_up_at = time.monotonic() + SEND_TIMEOUT_S
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(self._fd, rest) :]
            except BlockingIOError:
                left_s = give_up_at - time.monotonic()
                if left_s <= 0 or not select.select([], [self._fd], [], left_s)[1]:
                    raise

    def _receive(self, size: int, deadline: Deadline) -> bytes:
        received = bytearray()
        while len(received) < size:
            wait_real_s = self._clock.real_seconds(deadline.remaining_s())
            if not select.select([self._fd], [], [], wait_real_s)[0]:
                break
            try:
                chunk = os.read(self._fd, size - len(received))
            except BlockingIOError:
                continue
            if not chunk:
                raise self._down(CLOSED)
            self.last_byte_at = (self._clock.now(), self._clock.monotonic())
            received += chunk
        return bytes(received)

    def _discard(self) -> None:
        while select.select([self._fd], [], [], 0)[0]:
            if not os.read(self._fd, 4096):
                raise self._down(CLOSED)

    def _close(self) -> None:
        device, self._device, self._fd = self._device, None, -1
        if device is not None:
            device.close()


class TcpLink(OpenLink):
    """A TCP endpoint. The kernel waits, so an answer costs one call; what came beyond the bytes asked for is kept."""

    _socket: socket.socket | None = None
    _input: select.poll
    _ahead = b""
    _patience_s = 0.0

    def receive(self, size: int, deadline: Deadline) -> bytes:
        """Return `size` bytes, fewer only when the deadline passes; the last byte's arrival is stamped."""
        ahead = self._ahead
        if len(ahead) < size:
            return super().receive(size, deadline)
        self._ahead = ahead[size:]
        return ahead[:size]

    def fileno(self) -> int:
        """Return the descriptor, -1 while the line is closed."""
        return self._socket.fileno() if self._socket else -1

    def _open(self) -> None:
        self._socket = _open_tcp(self.settings)
        self._input = select.poll()
        self._input.register(self._socket, select.POLLIN)
        self._patience_s = 0.0

    def _send(self, data: bytes) -> None:
        assert self._socket is not None
        self._socket.sendall(data)

    def _receive(self, size: int, deadline: Deadline) -> bytes:
        line, received, late = self._socket, self._ahead, False
        assert line is not None
        while len(received) < size:
            wait_real_s = self._clock.real_seconds(deadline.remaining_s())
            # The kernel is told how long to wait only when what it was told last is no good.
            if wait_real_s > 0 and not wait_real_s / 2 <= self._patience_s <= wait_real_s:
                self._patience_s = wait_real_s if late else 0.9 * wait_real_s
                _set_timeout(line, socket.SO_RCVTIMEO, self._patience_s)
            try:
                chunk = line.recv(CHUNK_BYTES, 0 if wait_real_s > 0 else socket.MSG_DONTWAIT)
            except BlockingIOError:
                if wait_real_s <= 0:
                    break
                late = True  # What is left of the time is waited for exactly.
                continue
            if not chunk:
                raise self._down(CLOSED)
            self.last_byte_at = (self._clock.now(), self._clock.monotonic())
            received = received + chunk if received else chunk
        self._ahead = received[size:]
        return received[:size]

    def _discard(self) -> None:
        self._ahead = b""
        assert self._socket is not None
        while self._input.poll(0):
            if not self._socket.recv(CHUNK_BYTES):
                raise self._down(CLOSED)

    def _close(self) -> None:
        line, self._socket, self._ahead = self._socket, None, b""
        if line is not None:
            line.close()


def open_link(
    *,
    kind: str,
    clock: Clock,
    port: str = "",
    baudrate: int = 2400,
    parity: str = "even",
    stop_bits: int = 1,
    host: str = "",
    tcp_port: int = 0,
) -> OpenLink:
    """Open a serial port or a TCP endpoint for one owner.

    raises  ConfigError for settings that make no sense, ResourceUnavailable (naming the fix) when the device is missing
            or in use, or nobody accepts the connection.
    """
    settings = LinkSettings(
        kind=kind,
        port=port,
        baudrate=baudrate,
        parity=parity,
        stop_bits=stop_bits,
        host=host,
        tcp_port=tcp_port,
    )
    return TcpLink(settings, clock) if kind == "tcp" else SerialLink(settings, clock)


def _open_serial(settings: LinkSettings) -> serial.Serial:
    """Open a serial port exclusively and without time-outs of its own."""
    is_pty = os.path.realpath(settings.port).startswith("/dev/pts/")
    device = serial.Serial()
    device.port, device.baudrate, device.stopbits = settings.port, settings.baudrate, settings.stop_bits
    device.parity, device.timeout, device.exclusive = PARITIES[settings.parity], 0, True
    try:
        try:
            device.open()
        except termios.error:
            # Some systems refuse parity on a pseudo-terminal, where it means nothing.
            if not is_pty:
                raise
            device.parity, device.stopbits = serial.PARITY_NONE, 1
            device.open()
    except (serial.SerialException, OSError, ValueError, termios.error) as error:
        raise ResourceUnavailable(_serial_fix(settings, error)) from error
    if not is_pty:
        # Keeps out programs that take no lock. Not on a pseudo-terminal: there the mark would outlive a killed owner.
        fcntl.ioctl(device.fileno(), termios.TIOCEXCL)
    return device


def _serial_fix(settings: LinkSettings, error: Exception) -> str:
    """Return what is wrong with a port and what to do about it."""
    number = getattr(error, "errno", None)
    text = str(error)
    if number == errno.ENOENT or not Path(settings.port).exists():
        return f"{settings.port}: no such device. Plug the adapter in, or correct `port`; see `ls /dev/serial/by-id/`."
    if number in (errno.EAGAIN, errno.EBUSY) or "lock" in text or "busy" in text.lower():
        return f"{settings.port}: in use by another program. Stop it (`fuser -v {settings.port}` names it)."
    if number in (errno.EACCES, errno.EPERM):
        return f"{settings.port}: permission denied. Add this user to the device's group (`ls -l {settings.port}`)."
    return f"{settings.port}: cannot be opened as a serial port ({text}). Check that `port` names a serial device."


def _open_tcp(settings: LinkSettings) -> socket.socket:
    """Connect, with small writes sent at once and dead peers noticed."""
    try:
        connection = socket.create_connection((settings.host, settings.tcp_port), timeout=CONNECT_TIMEOUT_S)
    except OSError as error:
        raise ResourceUnavailable(
            f"{settings}: no connection ({_reason(error)}). Check host, tcp_port, and that the device is switched on "
            "and has no other client connected."
        ) from error
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.settimeout(None)
    _set_timeout(connection, socket.SO_SNDTIMEO, SEND_TIMEOUT_S)
    return connection


def _set_timeout(connection: socket.socket, option: int, seconds: float) -> None:
    """Set how long the kernel waits in a call (a struct timeval, 64 bits wide also on newer 32-bit systems)."""
    whole, part_us = divmod(max(1, round(seconds * 1e6)), 1_000_000)
    try:
        connection.setsockopt(socket.SOL_SOCKET, option, struct.pack("@ll", whole, part_us))
    except OSError:
        connection.setsockopt(socket.SOL_SOCKET, option, struct.pack("@qq", whole, part_us))


def _reason(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__
