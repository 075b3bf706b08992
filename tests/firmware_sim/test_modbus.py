"""Modbus servers against the Modbus specifications and the makers' register tables."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import pytest

from domain.clock import ManualClock, SystemClock
from domain.units import Unit
from firmware_sim.dial import Dial, Mains, RegisterShape
from firmware_sim.faults import Faults
from firmware_sim.journal import Journal
from firmware_sim.meters.modbus import ModbusMeter, RtuLine, TcpUnits, crc16
from firmware_sim.meters.modbus_models import MODELS
from firmware_sim.tcp_server import TcpServer
from tests.firmware_sim.conftest import MOMENT, Still


def server(model: str, count: int, mains: Mains, clock: ManualClock | SystemClock, unit: int = 17) -> ModbusMeter:
    dial = Dial(Still(), MODELS[model].shape, count, mains)
    return ModbusMeter(f"X-{unit}", unit, dial, model, Faults(model), clock=clock, serial="25001234")


def ultrad_ml(data: bytes) -> int:
    whole_m3, rest_ml = struct.unpack(">ii", data)
    return int(whole_m3) * 1_000_000 + int(rest_ml)


def read(meter: ModbusMeter, address: int, count: int, code: int = 3) -> bytes:
    pdu, _ = meter.reply(struct.pack(">BHH", code, address, count), MOMENT)
    assert pdu[:2] == bytes((code, 2 * count)), pdu.hex()
    return pdu[2:]


def test_crc_is_that_of_the_specification() -> None:
    """Modbus over serial line v1.02, 6.2.2: the frame 02 07 has CRC 1241h, sent low byte first."""
    assert crc16(b"\x02\x07") == b"\x41\x12"
    assert crc16(bytes.fromhex("01030000000a")) == bytes.fromhex("c5cd")


@pytest.mark.parametrize(
    ("model", "code", "address", "count", "total", "decoded"),
    [
        # Each reads the maker's total in its own order of bytes and gives the dial's count back.
        ("arad-octave", 4, 24, 4, 2_345_678, lambda b: round(struct.unpack(">d", b[::-1])[0] * 1000)),
        ("arad-octave", 4, 54, 2, 2_345_678, lambda b: struct.unpack(">I", b)[0]),
        ("siemens-mag5000", 3, 3014, 4, 2_345_678, lambda b: round(struct.unpack(">d", b)[0] * 1000)),
        ("siemens-mag8000", 3, 3017, 4, 2_345_678, lambda b: struct.unpack(">ii", b)[0]),
        ("tuf2000m", 3, 8, 2, 2_345_678, lambda b: struct.unpack(">i", b[2:] + b[:2])[0]),
        ("badger-m2000", 3, 207, 2, 2_345_678, lambda b: round(struct.unpack(">f", b)[0] * 1000)),
        ("dynaflox-ultrad", 3, 2, 4, 1_234_567_890, ultrad_ml),
        ("dynasonics-tfx-ultra", 3, 705, 2, 510_219, lambda b: round(struct.unpack(">f", b)[0])),
    ],
)  # fmt: skip
def test_totals_lie_where_the_maker_says(
    clock: ManualClock,
    mains: Mains,
    model: str,
    code: int,
    address: int,
    count: int,
    total: int,
    decoded: Callable[[bytes], int],
) -> None:
    meter = server(model, total, mains, clock)
    assert decoded(read(meter, address, count, code)) == total
    _, carried = meter.reply(struct.pack(">BHH", code, address, count), MOMENT)
    assert carried == (("total", total),)


def test_a_read_that_cuts_a_total_carries_none(clock: ManualClock, mains: Mains) -> None:
    meter = server("siemens-mag8000", 5, mains, clock)
    assert meter.reply(struct.pack(">BHH", 3, 3017, 2), MOMENT)[1] == ()


@pytest.mark.parametrize("model", sorted(MODELS))
def test_float_totals_hold_every_count_up_to_the_largest_start(clock: ManualClock, mains: Mains, model: str) -> None:
    shape, most = MODELS[model].shape, MODELS[model].largest_start_count
    value = most * float(shape.unit.litres) * 10.0**shape.scale / float(shape.unit.litres)
    unit_of_least_precision = struct.unpack(
        ">f", struct.pack(">I", struct.unpack(">I", struct.pack(">f", value))[0] + 1)
    )
    assert unit_of_least_precision[0] - value < 10.0**shape.scale or model == "dynaflox-ultrad"


def test_serial_number_and_signature(clock: ManualClock, mains: Mains) -> None:
    assert read(server("arad-octave", 5, mains, clock), 1, 16, 4).rstrip(b"\0") == b"25001234"
    assert read(server("siemens-mag8000", 5, mains, clock), 79, 1) == struct.pack(">H", 10779)


def test_alarms_are_in_their_bits(clock: ManualClock, mains: Mains) -> None:
    meter = server("arad-octave", 5, mains, clock)
    assert read(meter, 0, 1, 4) == b"\0\0"
    meter.faults.on |= {"low-battery", "alarm"}
    assert read(meter, 0, 1, 4) == struct.pack(">H", 1 << 7 | 1 << 5)


@pytest.mark.parametrize(
    ("request_hex", "exception"),
    [
        ("06 0000 0001", 1),  # write a register
        ("10 0000 0001 02 0001", 1),  # write registers
        ("04 0008 0002", 1),  # a function this maker does not have
        ("03 0008 0000", 3),
        ("03 0008 007e", 3),
        ("03 0008", 3),
        ("03 07d0 0002", 2),
        ("03 00c7 0002", 2),  # one register past a block
        ("2b 0d 01 00", 1),
    ],
)
def test_refusals(clock: ManualClock, mains: Mains, request_hex: str, exception: int) -> None:
    pdu = bytes.fromhex(request_hex)
    reply, carried = server("tuf2000m", 5, mains, clock).reply(pdu, MOMENT)
    assert (reply, carried) == (bytes((pdu[0] | 0x80, exception)), ())


def test_ultrad_gives_at_most_22_registers(clock: ManualClock, mains: Mains) -> None:
    meter = server("dynaflox-ultrad", 5, mains, clock)
    assert meter.reply(struct.pack(">BHH", 3, 0, 23), MOMENT)[0] == b"\x83\x03"
    assert len(read(meter, 0, 18)) == 36


def test_a_server_says_who_it_is(clock: ManualClock, mains: Mains) -> None:
    meter = server("siemens-mag8000", 5, mains, clock)
    assert meter.reply(b"\x11", MOMENT)[0] == b"\x11\x0a\x11\xffMAG 8000"
    identification = meter.reply(b"\x2b\x0e\x01\x00", MOMENT)[0]
    assert identification == b"\x2b\x0e\x01\x01\x00\x00\x03\x00\x07Siemens\x01\x08MAG 8000\x02\x031.0"


class TestRtu:
    """Frames on a serial line."""

    def frame(self, body: bytes) -> bytes:
        return body + crc16(body)

    def test_the_addressed_server_answers_with_address_and_crc(self, clock: ManualClock, mains: Mains) -> None:
        line = RtuLine([server("tuf2000m", 7, mains, clock, unit) for unit in (3, 17)], 9600)
        (answer,) = line.answers(self.frame(bytes.fromhex("11 03 0008 0002")), MOMENT)
        assert answer.data == self.frame(bytes.fromhex("11 03 04 0007 0000"))
        assert answer.delay_s >= 3.5 * 11 / 9600

    @pytest.mark.parametrize(
        "frame",
        [bytes.fromhex("11030008000246ff"), bytes.fromhex("05030008000244 4d"), b"\x11"],
        ids=["crc", "nobody", "cut"],
    )
    def test_others_keep_silent(self, clock: ManualClock, mains: Mains, frame: bytes) -> None:
        assert RtuLine([server("tuf2000m", 7, mains, clock)], 9600).answers(frame, MOMENT) == []

    def test_a_broadcast_is_not_answered(self, clock: ManualClock, mains: Mains) -> None:
        frame = self.frame(bytes.fromhex("00 03 0008 0002"))
        assert RtuLine([server("tuf2000m", 7, mains, clock)], 9600).answers(frame, MOMENT) == []

    def test_requests_are_cut_by_length_and_by_silence(self, clock: ManualClock, mains: Mains) -> None:
        line = RtuLine([server("tuf2000m", 7, mains, clock)], 9600)
        first, second = self.frame(bytes.fromhex("11 03 0008 0002")), self.frame(b"\x11\x11")
        buffer = bytearray(first + second + b"\x11\x63\x00")
        assert line.take(buffer, silence=False) == first
        assert line.take(buffer, silence=False) == second
        assert line.take(buffer, silence=False) is None
        assert line.take(buffer, silence=True) == b"\x11\x63\x00"

    def test_a_sleeping_meter_loses_the_first_exchange(self, clock: ManualClock, mains: Mains) -> None:
        line = RtuLine([server("siemens-mag8000", 9, mains, clock)], 9600)
        frame = self.frame(bytes.fromhex("11 03 0bc9 0004"))
        assert line.answers(frame, MOMENT) == []
        assert len(line.answers(frame, MOMENT)) == 1
        clock.advance(9)
        assert len(line.answers(frame, MOMENT)) == 1
        clock.advance(11)
        assert line.answers(frame, MOMENT) == []


@contextmanager
def listening(meters: list[ModbusMeter], mains: Mains, journal: Journal) -> Iterator[int]:
    import os

    stop_read, stop_write = os.pipe()
    tcp = TcpServer(clock=SystemClock(), mains=mains, journal=journal, stop_fd=stop_read)
    port = tcp.listen(TcpUnits(meters))
    tcp.start()
    try:
        yield port
    finally:
        os.write(stop_write, b"x")
        tcp.close()
        journal.close()
        os.close(stop_read)
        os.close(stop_write)


def adu(transaction: int, unit: int, pdu: bytes) -> bytes:
    return struct.pack(">HHHB", transaction, 0, len(pdu) + 1, unit) + pdu


def exactly(peer: socket.socket, size: int) -> bytes:
    """Receive `size` bytes, fewer only when the peer closes."""
    data = b""
    while len(data) < size and (part := peer.recv(size - len(data))):
        data += part
    return data


class TestTcp:
    """An endpoint on loopback, from plain sockets and from pymodbus as an outside opinion."""

    @pytest.fixture
    def journal(self, tmp_path_factory: pytest.TempPathFactory) -> Journal:
        return Journal(tmp_path_factory.mktemp("street") / "replies.jsonl")

    @pytest.fixture
    def port(self, mains: Mains, journal: Journal) -> Iterator[int]:
        meters = [server("tuf2000m", 7, mains, SystemClock(), 1), server("badger-m2000", 9, mains, SystemClock(), 2)]
        with listening(meters, mains, journal) as port:
            yield port

    def test_pipelined_requests_are_answered_in_order(self, port: int) -> None:
        with closing(socket.create_connection(("127.0.0.1", port), timeout=10)) as peer:
            read_total = bytes.fromhex("03 0008 0002")
            peer.sendall(b"".join(adu(n, 1, read_total) for n in range(5)) + adu(5, 2, bytes.fromhex("06 0000 0001")))
            peer.sendall(adu(6, 99, read_total))
            for n in range(5):
                assert exactly(peer, 13) == adu(n, 1, bytes.fromhex("03 04 0007 0000"))
            assert exactly(peer, 9) == adu(5, 2, b"\x86\x01")
            assert exactly(peer, 9) == adu(6, 99, b"\x83\x0b")

    def test_several_connections_at_once(self, port: int) -> None:
        peers = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(4)]
        for n, peer in enumerate(peers):
            peer.sendall(adu(n, 1, bytes.fromhex("03 0008 0002"))[:5])
        for n, peer in enumerate(peers):
            peer.sendall(adu(n, 1, bytes.fromhex("03 0008 0002"))[5:])
        for n, peer in enumerate(peers):
            assert exactly(peer, 13) == adu(n, 1, bytes.fromhex("03 04 0007 0000"))
            peer.close()

    def test_what_is_not_modbus_ends_the_connection(self, port: int) -> None:
        with closing(socket.create_connection(("127.0.0.1", port), timeout=10)) as peer:
            peer.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert peer.recv(100) == b""

    def test_a_damaged_answer_ends_the_connection(self, mains: Mains, journal: Journal) -> None:
        meter = server("tuf2000m", 7, mains, SystemClock(), 1)
        meter.faults.on.add("noise")
        with (
            listening([meter], mains, journal) as port,
            closing(socket.create_connection(("127.0.0.1", port), timeout=10)) as peer,
        ):
            peer.sendall(adu(1, 1, bytes.fromhex("03 0008 0002")))
            assert len(exactly(peer, 100)) == 6

    def test_pymodbus_reads_the_same_count(self, port: int) -> None:
        from pymodbus.client import ModbusTcpClient

        client = ModbusTcpClient("127.0.0.1", port=port, timeout=10)
        assert client.connect()
        try:
            reply = client.read_holding_registers(8, count=2, device_id=1)
            assert reply.registers == [7, 0]
            refused = client.read_holding_registers(60_000, count=2, device_id=1)
            assert refused.isError()
            assert refused.exception_code == 2
        finally:
            client.close()


def test_the_shape_of_every_model_is_one_the_office_can_write_down() -> None:
    for model in MODELS.values():
        assert isinstance(model.shape, RegisterShape)
        assert model.shape.unit in (Unit.CUBIC_METRE, Unit.LITRE, Unit.GALLON)
        assert "total" in model.registers
