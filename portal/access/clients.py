"""Where a request comes from and with what: as little of it as a person needs to recognise their own devices."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from allauth.account.adapter import get_adapter
from django.core.exceptions import PermissionDenied

if TYPE_CHECKING:
    from django.http import HttpRequest

# The first word found counts: every browser names the older ones that it wants to pass for.
_BROWSERS = (
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser", "Samsung Internet"),
    ("Firefox", "Firefox"),
    ("FxiOS", "Firefox"),
    ("CriOS", "Chrome"),
    ("Chrome", "Chrome"),
    ("Safari", "Safari"),
)
_SYSTEMS = (
    ("Android", "Android"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Windows", "Windows"),
    ("CrOS", "ChromeOS"),
    ("Macintosh", "Mac"),
    ("Linux", "Linux"),
)


def device_words(user_agent: str) -> str:
    """Return browser and system in a few words: `Firefox, Windows`; empty when neither is known."""
    named = (next((name for mark, name in kinds if mark in user_agent), "") for kinds in (_BROWSERS, _SYSTEMS))
    return ", ".join(name for name in named if name)


def short_network(address: str) -> str:
    """Return the network of an address: `203.0.113.0/24`, `2001:db8:7::/48`; empty when it is none."""
    return _network(address, 24, 48)


def address_of(request: HttpRequest) -> str:
    """Return the address that a request comes from, empty when nobody knows."""
    try:
        return str(get_adapter(request).get_client_ip(request))
    except PermissionDenied:
        return ""


def home_of(address: str) -> str:
    """Return what one household or office has: the IPv4 address, or the /64 of an IPv6 address."""
    return _network(address, 32, 64)


def _network(address: str, v4: int, v6: int) -> str:
    try:
        known = ipaddress.ip_address(address)
    except ValueError:
        return ""
    mapped = getattr(known, "ipv4_mapped", None)
    known = mapped or known
    return str(ipaddress.ip_network(f"{known}/{v4 if known.version == 4 else v6}", strict=False))
