"""systemd's notification protocol (sd_notify(3)): ready, alive, stopping. Without systemd it does nothing."""

from __future__ import annotations

import os
import socket


def notify(state: str) -> None:
    """Tell the service manager, if one asked to be told (NOTIFY_SOCKET). A manager that went away is no fault."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address[:1] not in ("/", "@"):
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
        try:
            connection.connect("\0" + address[1:] if address[0] == "@" else address)
            connection.sendall(state.encode())
        except OSError:
            return
