"""The only place that spells an MQTT topic.

hw1/up/<partition>/<collector>/batch     signed batches                       collector -> portal
hw1/up/<partition>/<collector>/state     online or offline, retained          collector (or its last will) -> portal
hw1/down/<collector>/ack                 signed acknowledgements              portal -> collector
hw1/down/<collector>/command             signed commands                      portal -> collector

The partition (00 to 15) comes from the collector's id and lets several ingest workers share the load on any broker.
"""

from __future__ import annotations

from domain.ids import PARTITIONS, CollectorId

ROOT = "hw1"


def batch_topic(collector: CollectorId) -> str:
    """Return the topic on which a collector publishes its batches."""
    return f"{ROOT}/up/{collector.partition:02d}/{collector}/batch"


def state_topic(collector: CollectorId) -> str:
    """Return the topic of a collector's retained state, also that of its last will."""
    return f"{ROOT}/up/{collector.partition:02d}/{collector}/state"


def ack_topic(collector: CollectorId) -> str:
    """Return the topic on which the portal acknowledges a collector's batches."""
    return f"{ROOT}/down/{collector}/ack"


def command_topic(collector: CollectorId) -> str:
    """Return the topic on which the portal commands a collector."""
    return f"{ROOT}/down/{collector}/command"


def batch_filter(partition: int | None = None) -> str:
    """Return the subscription for the batches of one partition, or of all."""
    return f"{ROOT}/up/{_level(partition)}/+/batch"


def state_filter(partition: int | None = None) -> str:
    """Return the subscription for the states of one partition, or of all."""
    return f"{ROOT}/up/{_level(partition)}/+/state"


def parse_batch_topic(topic: str) -> CollectorId:
    """Return the collector that a batch topic names.

    raises  ValueError when it is no batch topic, or its partition is not the collector's.
    """
    return _parse_up(topic, "batch")


def parse_state_topic(topic: str) -> CollectorId:
    """Return the collector that a state topic names; raises ValueError as parse_batch_topic does."""
    return _parse_up(topic, "state")


def _level(partition: int | None) -> str:
    if partition is None:
        return "+"
    if not 0 <= partition < PARTITIONS:
        raise ValueError(f"a partition is 0 to {PARTITIONS - 1}, not {partition}")
    return f"{partition:02d}"


def _parse_up(topic: str, leaf: str) -> CollectorId:
    match topic.split("/"):
        case [root, "up", partition, name, last] if root == ROOT and last == leaf:
            collector = CollectorId(name)
            if partition == f"{collector.partition:02d}":
                return collector
    raise ValueError(f"{topic!r} is not the {leaf} topic of a collector")
