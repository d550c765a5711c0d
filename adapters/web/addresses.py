"""Which network addresses are the public internet; everything else is the house (row F9)."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address

_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NAT64 = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))
_TEREDO = IPv6Network("2001::/32")
_6TO4 = IPv6Network("2002::/16")
_NOT_FOR_US = (
    IPv6Network("2001::/23"),  # IETF protocol assignments, Teredo and ORCHID among them
    IPv6Network("2001:db8::/32"),
    IPv6Network("3fff::/20"),
    _6TO4,
)
# IETF protocol assignments and the relays of 6to4; Python 3.11 knows only parts of the first.
_NOT_FOR_US_4 = (IPv4Network("192.0.0.0/24"), IPv4Network("192.88.99.0/24"))
_ISATAP = (0x0000_5EFE, 0x0200_5EFE)  # RFC 5214, in the upper half of the interface's id
_HALF, _WORD = 0xFFFF_FFFF_FFFF_FFFF, 0xFFFF_FFFF


def is_public(address: str) -> bool:
    """Whether a packet to it surely leaves the house. Unknown forms are not public."""
    try:
        found = ip_address(address)
    except ValueError:
        return False
    if isinstance(found, IPv4Address):
        return _is_public_4(found)
    if found.scope_id is not None or any(not _is_public_4(each) for each in _hidden_in(found)):
        return False
    if found not in _GLOBAL_UNICAST or any(found in network for network in _NOT_FOR_US):
        return False
    return found.is_global and not found.is_multicast and not found.is_reserved


def _is_public_4(address: IPv4Address) -> bool:
    if any(address in network for network in _NOT_FOR_US_4):
        return False
    odd = address.is_multicast or address.is_reserved or address.is_unspecified
    return address.is_global and not odd


def _hidden_in(address: IPv6Address) -> Iterator[IPv4Address]:
    """The IPv4 addresses that a transition form carries to, wherever it is looked at."""
    number = int(address)
    if number >> 32 in (0, 0xFFFF, 0xFFFF_0000):  # compatible, mapped, translated
        yield IPv4Address(number & _WORD)
    if any(address in network for network in _NAT64):
        yield IPv4Address(number & _WORD)
    if address in _6TO4:
        yield IPv4Address((number >> 80) & _WORD)
    if address in _TEREDO:
        yield IPv4Address((number >> 64) & _WORD)
        yield IPv4Address(~number & _WORD)
    if (number & _HALF) >> 32 in _ISATAP:
        yield IPv4Address(number & _WORD)
