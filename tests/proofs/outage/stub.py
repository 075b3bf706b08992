"""Stands in for the ThingsBoard platform: takes every message, and answers the requests that a gateway makes at start.

`python -m tests.proofs.outage.stub PORT FILE`: one JSON line for each message of readings, written before the broker
gets its acknowledgement. A persistent session with QoS 1, so that the stub itself never loses a message. The requests
are the ones of the gateway's MQTT interface: session limits by remote call, and attributes.
"""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

if TYPE_CHECKING:
    from collections.abc import Sequence

TELEMETRY = "v1/gateway/telemetry"
_LIMITS = {"maxPayloadSize": 65536, "maxInflightMessages": 0, "rateLimits": {}, "gatewayRateLimits": {}}


def main(arguments: Sequence[str]) -> None:
    """Run until killed."""
    port, file = int(arguments[0]), arguments[1]
    with open(file, "a", buffering=1, encoding="utf-8") as received:

        def on_connect(client: mqtt.Client, data: object, flags: Any, reason: Any, properties: object) -> None:
            client.subscribe("#", qos=1)

        def on_subscribe(client: mqtt.Client, data: object, mid: int, reasons: Any, properties: object) -> None:
            sys.stderr.write("stub ready\n")
            sys.stderr.flush()

        def on_message(client: mqtt.Client, data: object, message: mqtt.MQTTMessage) -> None:
            answer_topic = message.topic.replace("/request/", "/response/")
            if message.topic == TELEMETRY:
                line = {"at": time.time(), "readings": json.loads(message.payload)}
                received.write(json.dumps(line, separators=(",", ":")) + "\n")
            elif message.topic.startswith("v1/devices/me/rpc/request/"):
                client.publish(answer_topic, json.dumps(_LIMITS), qos=1)
            elif message.topic.startswith("v1/devices/me/attributes/request/"):
                client.publish(answer_topic, "{}", qos=1)

        client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="platform-stub", clean_session=False)
        client.max_inflight_messages_set(0)
        client.on_connect, client.on_subscribe, client.on_message = on_connect, on_subscribe, on_message
        client.reconnect_delay_set(1, 1)
        client.connect_async("127.0.0.1", port)
        client.loop_forever(retry_first_connection=True)


if __name__ == "__main__":
    main(sys.argv[1:])
