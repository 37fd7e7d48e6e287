"""Where a channel may call: whoever enters its address is a user, and what the server reaches is more than what they do."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass, field
from typing import Any
from urllib.request import getproxies, proxy_bypass

import httpx

from headrace.errors import Denied, Invalid

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Place:
    """What to call. headers, extensions: of httpx, so that the name is asked for and proven though an address is called."""

    url: httpx.URL
    headers: dict[str, str] = field(default_factory=dict)
    extensions: dict[str, Any] = field(default_factory=dict)


class Reach:
    """private: this machine and private networks may be called, too."""

    def __init__(self) -> None:
        self.private = False

    def place(self, url: str) -> Place:
        """Where an address leads, looked up once: a name that is asked again may have another answer.

        Denied ``private_address`` where any of its addresses is not of the public network, Invalid ``bad_url``, OSError.
        """
        wanted = httpx.URL(url)
        if wanted.scheme not in ("http", "https") or not wanted.host:
            raise Invalid("bad_url", "The channel's URL is none", "Mend the channel.")
        if self.private:
            return Place(wanted)
        name = wanted.raw_host.decode("ascii")
        proxied = wanted.scheme in getproxies() and not proxy_bypass(name)
        try:
            addresses = _addresses(name)
        except OSError:
            if proxied:
                # It may know names that are not known here.
                return Place(wanted)
            raise
        if not all(map(public, addresses)):
            raise Denied(
                "private_address",
                "The channel's address is of this machine or of a private network",
                "Take a public one, or have the server started without HEADRACE_WEBHOOK_PRIVATE=false.",
            )
        if proxied:
            # It looks the name up by itself, and is the only one that is called from here.
            return Place(wanted)
        host = wanted.netloc.decode("ascii")
        return Place(wanted.copy_with(host=str(addresses[0])), {"host": host}, {"sni_hostname": name})


def _addresses(name: str) -> list[Address]:
    found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    return [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]


def public(address: Address) -> bool:
    """Whether an address is of the public network, also where it is an IPv4 one in IPv6's clothes."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return public(inner)
    return address.is_global and not address.is_multicast


reach = Reach()
