"""Nothing in the house is public, in whatever form it is written (row F9)."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.web.addresses import is_public
from adapters.web.errors import WebRefused
from adapters.web.urls import is_allowed, read_url
from tests.adapters.web.vectors import (
    HOSTS_OF_NUMBERS,
    IPV4_HOUSE,
    IPV6_HOUSE,
    LOCAL_NAMES,
    ODD_URLS,
    PUBLIC,
    hidden,
)


@pytest.mark.parametrize("address", [*IPV4_HOUSE, *IPV6_HOUSE, "", "x", "8.8.8", "8.8.8.8.8"])
def test_an_address_of_the_house_is_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", IPV4_HOUSE)
def test_nor_is_it_inside_any_address_of_the_other_family(address: str) -> None:
    assert [form for form in hidden(address) if is_public(form)] == []


@pytest.mark.parametrize("address", PUBLIC)
def test_the_public_internet_is_public(address: str) -> None:
    assert is_public(address)


@given(st.integers(0, 2**32 - 1))
def test_no_address_outside_the_global_ones_is_public_in_any_form(number: int) -> None:
    found = ipaddress.IPv4Address(number)
    if found.is_global and not found.is_multicast:
        return
    assert not any(map(is_public, [str(found), *hidden(str(found))]))


@given(st.integers(0, 2**128 - 1))
def test_no_address_that_python_calls_private_is_public(number: int) -> None:
    found = ipaddress.IPv6Address(number)
    assert not is_public(str(found)) or (found.is_global and not found.is_multicast)


@pytest.mark.parametrize("host", [*HOSTS_OF_NUMBERS, *LOCAL_NAMES])
def test_numbers_and_local_names_are_refused_as_hosts(host: str) -> None:
    for scheme in ("http", "https", "HTTP"):
        with pytest.raises(WebRefused):
            read_url(f"{scheme}://{host}/x")


@pytest.mark.parametrize("url", ODD_URLS)
def test_what_two_programs_could_read_differently_is_refused(url: str) -> None:
    with pytest.raises(WebRefused):
        read_url(url)


@pytest.mark.parametrize(
    ("url", "read"),
    [
        ("http://example.org", "http://example.org/"),
        ("HTTPS://Example.ORG/A?b=c#d", "https://example.org/A?b=c"),
        ("https://example.org:443/x", "https://example.org/x"),
        ("http://bücher.example/", "http://xn--bcher-kva.example/"),
        ("https://a-b.example.org/%20?x=%3F", "https://a-b.example.org/%20?x=%3F"),
    ],
)
def test_an_ordinary_address_is_read(url: str, read: str) -> None:
    assert str(read_url(url)) == read


def test_a_list_names_hosts_or_all_below_one() -> None:
    hosts = ("example.org", "*.example.com")
    allowed = ("example.org", "a.example.com", "a.b.example.com")
    refused = ("a.example.org", "example.com", "badexample.com", "example.org.evil.net", "")
    assert all(is_allowed(host, hosts) for host in allowed)
    assert not any(is_allowed(host, hosts) for host in refused)
    assert not is_allowed("example.org", ())
    assert is_allowed("anything.at.all", ("*",))


def test_there_are_vectors_enough() -> None:
    forms = sum(len(hidden(address)) for address in IPV4_HOUSE)
    names = len(HOSTS_OF_NUMBERS) + len(LOCAL_NAMES) + len(ODD_URLS)
    assert len(IPV4_HOUSE) + len(IPV6_HOUSE) + forms + names >= 150
