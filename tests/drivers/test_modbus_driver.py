"""The Modbus driver: against scripted meters, and against pymodbus's own server as a second opinion."""

from __future__ import annotations

import asyncio
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pymodbus.framer import FramerRTU, FramerSocket
from pymodbus.pdu import DecodePDU
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from domain.clock import SystemClock
from domain.errors import ConfigError
from domain.ids import MeterId
from domain.reading import ReadFlag, ReadQuality, Reason
from domain.units import Unit
from drivers.base import Deadline, MeterReply, MeterTarget
from drivers.errors import ApplicationError, BadFrame, BadReply, NoReply
from drivers.link import open_link
from drivers.modbus import ModbusDriver, count_total, poll_of
from drivers.modbus_map import load_map
from drivers.registry import DRIVERS, load_driver
from tests.drivers.support import PtyMeter, ScriptedLink

Words = dict[int, int]


def put(words: Words, address: int, data: bytes) -> None:
    words.update(enumerate(struct.unpack(f">{len(data) // 2}H", data), address))


def octave(*, total: float = 1234.5675, serial: bytes = b"OC123456", unit: int = 0, alarms: int = 0) -> Words:
    words = dict.fromkeys(range(28), 0)
    put(words, 0, struct.pack(">H", alarms))
    put(words, 1, serial.ljust(32, b"\0"))
    put(words, 23, struct.pack(">H", unit))
    put(words, 24, struct.pack("<d", total))
    put(words, 32, struct.pack("<d", 0.25))
    return words


def answer(words: Words, function: int) -> Callable[[bytes], bytes]:
    """Return the PDU of a meter that holds `words`: request PDU in, reply PDU out."""

    def reply(pdu: bytes) -> bytes:
        asked, address, count = struct.unpack(">BHH", pdu)
        if asked != function:
            return bytes((asked | 0x80, 1))
        if any(at not in words for at in range(address, address + count)):
            return bytes((asked | 0x80, 2))
        return struct.pack(f">BB{count}H", asked, 2 * count, *(words[at] for at in range(address, address + count)))

    return reply


def rtu(pdu_of: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    def reply(request: bytes) -> bytes:
        assert FramerRTU.compute_CRC(request) == 0
        frame = request[:1] + pdu_of(request[1:-2])
        return frame + FramerRTU.compute_CRC(frame).to_bytes(2, "big")

    return reply


def read(link: ScriptedLink, model: str = "arad-octave", **target: object) -> MeterReply:
    meter = MeterTarget(MeterId("meter-1"), "5", model, **target)  # type: ignore[arg-type]
    return ModbusDriver().read(meter, link, deadline=Deadline(link.clock, 10), clock=link.clock)


def serial_link(meter: Callable[[bytes], bytes], *, echo: bool = False) -> ScriptedLink:
    return ScriptedLink(meter, char_time_s=11 / 9600, echo=echo)


def test_a_double_total_is_counted_in_thousandths() -> None:
    link = serial_link(rtu(answer(octave(alarms=0x81), 4)))
    reply = read(link, identity="OC123456")
    total, reverse = reply.reads
    assert (total.register.register_id, total.raw_count, total.register.unit, total.register.scale) == (
        "total",
        1234568,
        Unit.CUBIC_METRE,
        -3,
    )
    assert (reverse.register.register_id, reverse.raw_count) == ("reverse_total", 250)
    assert (reply.alarms, reply.identity, reply.unexpected) == (("leakage", "octave_battery"), "OC123456", False)
    assert total.flags == ReadFlag.METER_ALARM
    assert total.read_at < reverse.read_at == link.last_byte_at[0]
    assert len(link.sent) == 2


@pytest.mark.parametrize(("code", "unit"), [(1, Unit.CUBIC_FOOT), (4, Unit.GALLON), (8, Unit.LITRE)])
def test_the_unit_that_the_meter_states_is_the_totals(code: int, unit: Unit) -> None:
    assert read(serial_link(rtu(answer(octave(unit=code), 4)))).reads[0].register.unit is unit


def test_a_unit_that_no_map_knows_is_refused_unless_commissioning_states_it() -> None:
    link = serial_link(rtu(answer(octave(unit=6), 4)))
    with pytest.raises(BadReply, match="unit code 6"):
        read(link)
    reply = read(link, unit=Unit.KILOGALLON, scale=-2)
    assert (reply.reads[0].raw_count, reply.reads[0].register.scale) == (123457, -2)


def test_another_meter_is_kept_under_its_own_identity() -> None:
    reply = read(serial_link(rtu(answer(octave(serial=b"OTHER/1"), 4))), identity="OC123456")
    assert (reply.unexpected, reply.meter_id) == (True, "OTHER-1")
    assert {(r.quality, r.reason) for r in reply.reads} == {(ReadQuality.SUSPECT, Reason.UNEXPECTED_METER)}


def test_a_total_that_is_no_number_is_no_read() -> None:
    reply = read(serial_link(rtu(answer(octave(total=float("nan")), 4))))
    assert [r.register.register_id for r in reply.reads] == ["reverse_total"]
    assert reply.alarms == ("no_valid_total",)


def test_a_split_total_comes_in_one_request() -> None:
    words = dict.fromkeys(range(17), 0)
    put(words, 2, struct.pack(">ii", 1380, 150933))
    put(words, 6, struct.pack(">ii", 0, 7))
    link = serial_link(rtu(answer(words, 3)))
    assert [r.raw_count for r in read(link, "dynaflox-ultrad").reads] == [1380150933, 7]
    assert len(link.sent) == 1


def test_the_low_word_first_total() -> None:
    words = {8: 0x5678, 9: 0x0012, 71: 1 << 4}
    reply = read(serial_link(rtu(answer(words, 3))), "tuf2000m")
    assert (reply.reads[0].raw_count, reply.reads[0].register.scale) == (0x125678, -3)
    assert reply.alarms == ("error_code_bit_4",)


@pytest.mark.parametrize("kind", ["u16", "u32", "u64"])
def test_a_plain_integer_total_is_what_the_general_way_makes_of_it(tmp_path: Path, kind: str) -> None:
    size = {"u16": 1, "u32": 2, "u64": 4}[kind]
    path = tmp_path / f"{kind}.toml"
    path.write_text(
        'maker = "m"\nmeter = "m"\nsource = "s"\nconfidence = "c"\n[[register]]\nname = "t"\naddress = 10\n'
        f'type = "{kind}"\nrole = "total"\nunit = "gal"\nscale = -1\nmodulus = 60000\n'
    )
    target = MeterTarget(MeterId("meter-1"), "5", str(path), scale=2)
    (total,) = poll_of(target).totals
    assert total.counts is not None
    for value, valid in ((0, True), (59_999, True), (60_000, False), (65_535, False)):
        words: Words = {}
        put(words, 10, value.to_bytes(2 * size, "big"))
        reply = read(serial_link(rtu(answer(words, 3))), str(path), scale=2)
        counted = count_total(load_map(str(path)), total.map, words, scale=2)
        assert [(r.raw_count, r.register) for r in reply.reads] == ([(value, total.counts)] if valid else [])
        assert (counted is not None) == valid
        if counted is not None:
            register = total.counts
            assert counted == (value, register.unit, register.scale, register.modulus)
        assert reply.alarms == (() if valid else ("no_valid_total",))


def mag8000(product: int = 10779) -> Words:
    words: Words = {79: product, 3016: 0}
    put(words, 3017, struct.pack(">ii", 2462490, 999_999_999))
    return words


def test_a_sleeping_meter_is_woken_by_an_exchange_that_does_not_count() -> None:
    meter = rtu(answer(mag8000(), 3))
    link = serial_link(lambda request: meter(request) if len(link.sent) > 1 else b"\x05\x03")
    reply = read(link, "siemens-mag8000")
    assert (reply.reads[0].raw_count, reply.reads[0].register.unit) == (2462490, Unit.LITRE)
    assert len(link.sent) == 3


def test_commissioning_overrides_unit_and_scale_of_a_split_total() -> None:
    reply = read(serial_link(rtu(answer(mag8000(), 3))), "siemens-mag8000", unit=Unit.CUBIC_METRE, scale=-3)
    assert (reply.reads[0].raw_count, reply.reads[0].register.unit) == (2462490999, Unit.CUBIC_METRE)


def test_a_wrong_signature_is_another_kind_of_meter() -> None:
    with pytest.raises(BadReply, match="register 79 holds 1, a siemens-mag8000 has 10779"):
        read(serial_link(rtu(answer(mag8000(1), 3))), "siemens-mag8000")


@pytest.mark.parametrize("noise", [b"\0", b"\xff\x04", b"\x05\x04", b"\x05\x04\x38", b"\x05\x84\x01"])
def test_noise_and_echo_before_a_reply_are_passed_over(noise: bytes) -> None:
    meter = rtu(answer(octave(), 4))
    assert read(serial_link(lambda request: noise + meter(request), echo=True)).reads[0].raw_count == 1234568


def test_every_exception_is_named() -> None:
    with pytest.raises(ApplicationError, match="illegal data address") as caught:
        read(serial_link(rtu(answer({}, 4))))
    assert (caught.value.code, caught.value.exit_code, caught.value.meter_id) == (2, 5, "meter-1")


def test_a_turned_bit_is_refused() -> None:
    meter = rtu(answer({8: 1, 9: 0, 71: 0}, 3))
    for bit in range(8 * 9):

        def turned(request: bytes, bit: int = bit) -> bytes:
            reply = bytearray(meter(request))
            reply[bit // 8] ^= 1 << bit % 8
            return bytes(reply)

        with pytest.raises((BadReply, NoReply)):
            read(serial_link(turned), "tuf2000m")


def test_a_reply_cut_short_is_refused() -> None:
    meter = rtu(answer(octave(), 4))
    for size in range(3, 61):
        with pytest.raises(BadFrame):
            read(serial_link(lambda request, size=size: meter(request)[:size]))  # type: ignore[misc]


def test_silence_costs_one_slot() -> None:
    link = serial_link(lambda _: b"")
    with pytest.raises(NoReply, match="0 bytes seen"):
        read(link)
    assert link.clock.monotonic() < 1.2


def test_another_units_answer_is_refused() -> None:
    meter = rtu(answer(octave(), 4))
    with pytest.raises(BadFrame, match="unit 6 answered"):
        read(
            serial_link(lambda r: meter(b"\x06" + r[1:6] + FramerRTU.compute_CRC(b"\x06" + r[1:6]).to_bytes(2, "big")))
        )


@pytest.mark.parametrize("model", [None, "nothing", "kamstrup-multical-x03"])
def test_a_target_without_a_usable_map_is_a_configuration_fault(model: str | None) -> None:
    with pytest.raises(ConfigError):
        read(serial_link(lambda _: b""), model)  # type: ignore[arg-type]


def test_a_late_tcp_reply_to_an_earlier_question_is_passed_over() -> None:
    meter = answer(octave(), 4)

    def reply(request: bytes) -> bytes:
        pdu = meter(request[7:])
        late = struct.pack(">HHHB", 9999, 0, 5, 5) + b"\x04\x02\x00\x01"
        return late + request[:2] + struct.pack(">HHB", 0, len(pdu) + 1, request[6]) + pdu

    link = ScriptedLink(reply, kind="tcp", char_time_s=0.0)
    assert read(link).reads[0].raw_count == 1234568


def test_a_plain_tcp_reply_says_what_pymodbus_reads_in_it_and_a_turned_bit_is_refused() -> None:
    meter = answer({8: 0x5678, 9: 0x0012, 71: 0}, 3)
    decoded: list[int] = []
    for bit in (None, *range(8 * 13)):

        def reply(request: bytes, bit: int | None = bit) -> bytes:
            pdu = meter(request[7:])
            frame = request[:4] + struct.pack(">HB", len(pdu) + 1, request[6]) + pdu
            if bit is None and len(pdu) == 6:
                values = FramerSocket(DecodePDU(is_server=False)).handleFrame(frame, 0, 0)[1]
                assert values is not None
                decoded.append(values.registers[1] << 16 | values.registers[0])
            if bit is None or len(pdu) != 6:
                return frame
            return (int.from_bytes(frame, "big") ^ 1 << 8 * 13 - 1 - bit).to_bytes(13, "big")

        link = ScriptedLink(reply, kind="tcp", char_time_s=0.0)
        if bit is None:
            assert read(link, "tuf2000m").reads[0].raw_count == decoded[0] == 0x125678
        elif bit < 8 * 9:  # the frame around the registers: TCP has no other check of its own
            with pytest.raises((BadReply, NoReply)):
                read(link, "tuf2000m")


def test_damaged_tcp_replies_are_refused() -> None:
    for reply in (b"\0\1\0\1\0\5\5\4\2\0\0", b"\0\1\0\0\xff\xff\5", b"\0\1\0", b"\0\1\0\0\0\x40\5\4\2"):
        with pytest.raises(BadFrame):
            read(ScriptedLink(lambda _, reply=reply: reply, kind="tcp", char_time_s=0.0))  # type: ignore[misc]


def test_scan_takes_an_exception_as_a_sign_of_life_and_recognises_signatures() -> None:
    meter = rtu(answer(mag8000(), 3))
    link = serial_link(lambda request: meter(request) if request[0] == 7 else b"")
    results = list(ModbusDriver().scan(link, clock=link.clock, first=6, last=8))
    assert [(r.address, r.found, r.model) for r in results] == [
        ("6", False, None),
        ("7", True, "siemens-mag8000"),
        ("8", False, None),
    ]


def test_a_read_over_a_pseudo_terminal() -> None:
    clock, meter = SystemClock(), rtu(answer(octave(), 4))
    with PtyMeter(lambda data: (meter(data)[:9], meter(data)[9:])) as line:
        link = open_link(kind="serial", port=line.port, baudrate=19200, parity="none", stop_bits=2, clock=clock)
        target = MeterTarget(MeterId("m"), "5", "arad-octave")
        reply = ModbusDriver().read(target, link, deadline=Deadline(clock, 5), clock=clock)
        assert reply.reads[0].raw_count == 1234568
        link.close()


@contextmanager
def pymodbus_server(devices: list[SimDevice]) -> Iterator[int]:
    """Run pymodbus's own TCP server in a thread and give its port."""
    loop, ports, started = asyncio.new_event_loop(), [], threading.Event()
    stop = asyncio.Event()

    async def serve() -> None:
        server = ModbusTcpServer(devices, address=("127.0.0.1", 0))
        await server.serve_forever(background=True)
        ports.append(server.transport.sockets[0].getsockname()[1])
        started.set()
        await stop.wait()
        await server.shutdown()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert started.wait(10)
        yield ports[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


def test_pymodbus_own_server_is_read_the_same() -> None:
    devices = []
    for unit, (words, _) in {5: (octave(), 4), 6: (mag8000(), 3), 7: ({8: 7, 9: 0, 71: 0}, 3)}.items():
        registers = [words.get(at, 0) for at in range(max(words) + 1)]
        devices.append(SimDevice(unit, [SimData(0, values=registers, datatype=DataType.REGISTERS)]))
    clock = SystemClock()
    with pymodbus_server(devices) as port:
        link = open_link(kind="tcp", host="127.0.0.1", tcp_port=port, clock=clock)
        driver = load_driver("modbus-tcp")
        totals = [
            driver.read(MeterTarget(MeterId("m"), unit, model), link, deadline=Deadline(clock, 10), clock=clock)
            .reads[0]
            .raw_count
            for unit, model in (("5", "arad-octave"), ("6", "siemens-mag8000"), ("7", "tuf2000m"))
        ]
        assert totals == [1234568, 2462490, 7]
        link.close()


def test_every_driver_of_the_table_loads() -> None:
    for name in DRIVERS:
        assert load_driver(name).name == name
    with pytest.raises(ConfigError, match="expected one of mbus, modbus"):
        load_driver("m-bus")
