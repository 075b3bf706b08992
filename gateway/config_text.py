"""A GatewayConfig as the text of a collector.toml, which reads back as the same configuration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.config import GatewayConfig


def to_toml(config: GatewayConfig) -> str:
    """Return the text of a collector.toml that `load` reads back as the same configuration (comments are not kept)."""

    def path(value: Path | None) -> str:
        if value is None:
            return ""
        return str(value.relative_to(config.folder)) if value.is_relative_to(config.folder) else str(value)

    collector = config.collector
    parts = [
        _section(
            "[collector]",
            id=str(collector.id),
            data_dir=path(collector.data_dir),
            clock=collector.clock,
            append_log=path(collector.append_log),
        )
    ]
    if config.portal:
        portal = config.portal
        parts.append(
            _section(
                "[portal]",
                broker=portal.broker,
                ca=path(portal.ca),
                certificate=path(portal.certificate),
                key=path(portal.key),
                signing_key=path(portal.signing_key),
                portal_key=path(portal.portal_key),
                batch_max_reads=portal.batch_max_reads,
                seal_every_s=portal.seal_every_s,
                upload_bytes_per_s_max=portal.upload_bytes_per_s_max or None,
            )
        )
    poll = config.poll
    parts.append(_section("[poll]", every_s=poll.every_s, attempts=poll.attempts, silent_after=poll.silent_after))
    for bus in config.buses:
        if bus.kind == "tcp":
            parts.append(_section("[[bus]]", name=bus.name, kind=bus.kind, host=bus.host, tcp_port=bus.tcp_port))
        else:
            line = _section("[[bus]]", name=bus.name, kind=bus.kind, port=bus.port, baudrate=bus.baudrate)
            parts.append(line + f'parity = "{bus.parity}"\nstop_bits = {bus.stop_bits}\n')
    parts.extend(
        _section(
            "[[meter]]",
            id=str(meter.id),
            bus=meter.bus,
            driver=meter.driver,
            address=meter.address,
            model=path(Path(meter.model)) if meter.model and meter.model.endswith(".toml") else meter.model,
            identity=meter.identity,
            every_s=meter.every_s,
            unit=meter.unit.value if meter.unit else None,
            scale=meter.scale,
        )
        for meter in config.meters
    )
    return "\n".join(parts)


def _section(head: str, **keys: str | float | None) -> str:
    rows = [f"{key} = {_toml_value(value)}" for key, value in keys.items() if value not in (None, "")]
    return "\n".join([head, *rows, ""])


def _toml_value(value: str | float | None) -> str:
    if isinstance(value, str):
        # A JSON string is a TOML basic string, but for DEL, which TOML wants escaped.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(int(value)) if isinstance(value, float) and value.is_integer() else repr(value)
