"""collector.toml: every fault at once, nothing guessed, written out and read back."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import pytest

from domain.errors import ConfigError
from gateway import config as gateway_config
from gateway.config_text import to_toml

GOOD = """
[collector]
id = "hw-demo-1"
data_dir = "data"
append_log = "appends.jsonl"

[portal]
broker = "mqtts://broker.example:8883"
ca = "keys/ca.pem"
certificate = "keys/cert.pem"
key = "keys/key.pem"
signing_key = "keys/signing.pem"
portal_key = "keys/portal.pem"

[poll]
every_s = 300

[[bus]]
name = "riser"
kind = "serial"
port = "/dev/ttyUSB0"
baudrate = 2400

[[bus]]
name = "net"
kind = "tcp"
host = "127.0.0.1"
tcp_port = 1502

[[meter]]
id = "EFE-04990254"
bus = "riser"
driver = "mbus"
address = "17"
every_s = 60

[[meter]]
id = "EFE-04990255"
bus = "riser"
driver = "mbus"
address = "s:04990255"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "keys").mkdir()
    for name in ("ca", "cert", "key", "signing", "portal"):
        path = tmp_path / "keys" / f"{name}.pem"
        path.write_text("x")
        path.chmod(0o600)
    return tmp_path


def load(folder: Path, text: str, **kwargs: bool) -> gateway_config.GatewayConfig:
    path = folder / "collector.toml"
    path.write_text(text)
    return gateway_config.load(path, **kwargs)


def faults(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(folder, text)
    assert caught.value.exit_code == 3
    return [" ".join(fault.split()) for fault in caught.value.faults]


def test_a_good_file_is_read_with_defaults_and_paths_beside_it(folder: Path) -> None:
    config = load(folder, GOOD)
    assert config.collector.data_dir == folder / "data"
    assert config.collector.append_log == folder / "appends.jsonl"
    assert config.portal is not None
    assert config.portal.address == ("broker.example", 8883, True)
    assert [config.every_s(meter) for meter in config.meters] == [60, 300]
    assert config.buses[0].line == "2400 8E1"


def test_a_configuration_is_written_out_and_read_back_the_same(folder: Path) -> None:
    config = load(folder, GOOD)
    assert load(folder, to_toml(config)) == config
    odd = replace(config, portal=None, meters=(replace(config.meters[0], model=None, identity='a"b\\c\x7f\n'),))
    assert load(folder, to_toml(odd)) == odd


def test_a_bound_for_a_metered_link_is_none_or_enough_to_send_with(folder: Path) -> None:
    def with_bound(bound: object) -> str:
        return GOOD.replace("[poll]", f"upload_bytes_per_s_max = {bound}\n\n[poll]", 1)

    config = load(folder, with_bound(500))
    assert config.portal is not None
    assert config.portal.upload_bytes_per_s_max == 500
    assert load(folder, to_toml(config)) == config
    unbound = load(folder, with_bound(0)).portal
    assert unbound is not None
    assert unbound.upload_bytes_per_s_max == 0
    key = "portal.upload_bytes_per_s_max"
    assert faults(folder, with_bound(99)) == [f"{key} = 99 expected 0 for no bound, or 100 and more"]
    for bad in (-1, "1.5", '"500"', "true"):
        (fault,) = faults(folder, with_bound(bad))
        assert fault.startswith(f"{key} = {bad} expected")


def test_a_register_map_of_ones_own_is_a_file_beside_the_configuration(folder: Path) -> None:
    text = GOOD.replace('address = "17"', 'address = "17"\nmodel = "maps/own.toml"', 1)
    missing = folder / "maps" / "own.toml"
    assert faults(folder, text) == [f'meter[0].model = "{missing}" no such file; expected a register map']
    missing.parent.mkdir()
    missing.write_text("")
    config = load(folder, text)
    assert config.meters[0].model == str(missing)
    assert 'model = "maps/own.toml"' in to_toml(config)
    assert load(folder, to_toml(config)) == config


def test_all_faults_are_reported_together(folder: Path) -> None:
    text = (
        GOOD.replace("baudrate = 2400", "baudrate = 2401")
        .replace('address = "17"', 'addres = "17"')
        .replace('host = "127.0.0.1"', "")
        .replace('"keys/key.pem"', '"keys/none.pem"')
        .replace("every_s = 60", 'every_s = "60"')
        .replace('id = "hw-demo-1"', 'id = "HW"')
    )
    assert faults(folder, text) == [
        'collector.id = "HW" expected a collector id (3 to 32 of a-z, 0-9 and -)',
        'portal.key = "keys/none.pem" no such file; `headwater gateway enrol` writes it',
        "bus[0].baudrate = 2401 expected one of 300, 600, 1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200",
        "bus[1].host missing; expected a host name or an address",
        "meter[0].address missing; expected the meter's address on its bus",
        'meter[0].every_s = "60" expected a number from 0.1 to 2678400',
        'meter[0].addres unknown key; did you mean "address"?',
    ]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('bus = "riser"\ndriver = "mbus"\naddress = "17"', 'bus = "raiser"\ndriver = "mbus"\naddress = "17"',
         'meter[0].bus = "raiser" expected one of riser, net'),
        ('driver = "mbus"\naddress = "17"', 'driver = "mbuss"\naddress = "17"',
         'meter[0].driver = "mbuss" expected one of mbus, modbus, modbus-rtu, modbus-tcp'),
        ('address = "s:04990255"', 'address = "017"',
         'meter[1].address = "017" is the address of meter[0] on the same bus already; '
         "expected one meter for each address"),
        ('id = "EFE-04990255"', 'id = "EFE-04990254"',
         'meter[1].id = "EFE-04990254" is meter[0] already; expected each meter once'),
        ('address = "17"', "address = 251",
         'meter[0].address = "251" expected a primary address from 0 to 250, or s: and the 8 digits of the meter'),
        ("mqtts://broker.example:8883", "mqtt://broker.example:1883",
         'portal.broker = "mqtt://broker.example:1883" expected mqtts://: '
         "clear text goes to this machine itself only"),
        ('name = "net"', 'name = "riser"',
         'bus[1].name = "riser" is the name of bus[0] already; expected one bus for each'),
        ("[poll]", "[pool]", 'pool unknown key; did you mean "poll"?'),
        ("every_s = 300", "every_s = true", "poll.every_s = true expected a number from 0.1 to 2678400"),
        ('data_dir = "data"', 'clock = "fast"',
         'collector.clock = "fast" expected system or scaled:SPEED:ANCHOR_S:START_S'),
    ],
)  # fmt: skip
def test_a_fault_names_its_place_and_what_is_expected(folder: Path, old: str, new: str, expected: str) -> None:
    assert GOOD.replace(old, new, 1) != GOOD
    assert faults(folder, GOOD.replace(old, new, 1)) == [expected]


def test_a_secret_that_others_can_read_is_a_fault(folder: Path) -> None:
    (folder / "keys" / "signing.pem").chmod(0o644)
    assert faults(folder, GOOD) == [
        'portal.signing_key = "keys/signing.pem" expected a file that only its owner can read; chmod 600 signing.pem'
    ]


def test_clear_text_to_this_machine_needs_no_certificates(folder: Path) -> None:
    text = "\n".join(line for line in GOOD.splitlines() if not line.startswith(("ca =", "certificate =", "key =")))
    config = load(folder, text.replace("mqtts://broker.example:8883", "mqtt://127.0.0.1:1883"))
    assert config.portal is not None
    assert config.portal.ca is None


def test_what_is_not_toml_says_where(folder: Path) -> None:
    assert "line 2" in faults(folder, "[collector]\nid = \n")[0]


def test_an_unknown_bus_is_told_with_the_ones_there_are(folder: Path) -> None:
    config = load(folder, GOOD)
    with pytest.raises(ConfigError, match="buses: riser, net"):
        config.bus("main")


def test_the_reference_page_has_every_key_and_its_example_is_good(tmp_path: Path) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "collector-toml.md").read_text()
    example = page.split("```toml\n")[1].split("```")[0]
    config = load(tmp_path, example, key_files=False)
    assert [meter.driver for meter in config.meters] == ["mbus", "modbus-tcp"]
    sections = (
        gateway_config.CollectorConfig, gateway_config.PortalConfig, gateway_config.PollConfig,
        gateway_config.BusConfig, gateway_config.MeterConfig,
    )  # fmt: skip
    for section in sections:
        for field in fields(section):
            assert f"`{field.name}`" in page, field.name
