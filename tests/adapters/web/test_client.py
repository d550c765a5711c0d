"""The safe client against real servers on this machine (rows F9–F12)."""

from __future__ import annotations

import asyncio
from urllib.parse import quote

import pytest

from adapters.web.addresses import is_public
from adapters.web.client import Net, SafeClient
from adapters.web.errors import WebFailed, WebRefused
from tests.adapters.web.sites import HERE, sites
from tests.adapters.web.vectors import IPV4_HOUSE, IPV6_HOUSE, hidden
from tests.drills.figures import RecordFigure
from tests.drills.figures import record_figure as record_figure

SITE = "site.example"


async def test_a_page_is_read_under_its_name() -> None:
    async with sites() as web:
        web.names[SITE] = [[HERE]]
        page = await web.client().get(web.url(SITE, "/news?x=1"))

    assert (page.status, page.media_type, "Hello" in page.text) == (200, "text/html", True)
    [(host, path, headers)] = web.requests
    assert (host, path) == (f"{SITE}:{web.port}", "/news")
    assert "Cookie" not in headers
    assert web.asked == [SITE]


@pytest.mark.parametrize("address", [*IPV4_HOUSE, *IPV6_HOUSE, *hidden("127.0.0.1")])
async def test_a_name_that_lies_in_the_house_is_never_connected_to(address: str) -> None:
    async with sites() as web:
        for answers in ([address], ["93.184.215.14", address], [address, "93.184.215.14"]):
            web.names[SITE] = [answers]
            with pytest.raises(WebRefused):
                await web.client(strict=True).get(web.url(SITE))

    assert web.requests == []


@pytest.mark.parametrize("times", [50, pytest.param(1000, marks=pytest.mark.drill)])
async def test_what_a_second_look_up_would_say_does_not_matter(
    times: int, record_figure: RecordFigure
) -> None:
    """Row F10: public at the check, private at the connect; it is looked up once."""
    connected = 0

    async def taken(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connected
        connected += 1
        writer.close()

    house = await asyncio.start_server(taken, HERE, 0)
    port = house.sockets[0].getsockname()[1]
    looked_up = 0

    async def rebinding(host: str) -> list[str]:
        nonlocal looked_up
        looked_up += 1
        return ["240.0.0.1"] if looked_up % 2 else [HERE]

    # 240.0.0.1 stands for a public address: nothing answers there.
    public = lambda address: address == "240.0.0.1" or is_public(address)  # noqa: E731
    client = SafeClient(("*",), net=Net(rebinding, public, (port,)), timeout_s=0.5)
    refused = 0
    for n in range(times):
        with pytest.raises((WebRefused, WebFailed)) as told:
            await client.get(f"http://h{n}.example:{port}/")
        refused += told.type is WebRefused
    house.close()
    await house.wait_closed()

    figure = f"{times:,} names that change their address after the check: {connected} connects"
    promise = "A host is looked up once, and the connection goes to what was checked"
    record_figure(row="F10", promise=promise, figure=figure)
    assert (connected, looked_up, refused) == (0, times, times // 2)


@pytest.mark.parametrize(
    "where",
    [
        "http://127.0.0.1/", "http://localhost/", "http://house.example/", "file:///etc/passwd",
        "//127.0.0.1/", "http://169.254.169.254/latest/meta-data/", "gopher://x.example/", "",
        "http://user@site.example/", "http://site.example:6379/",
    ],
)  # fmt: skip
async def test_no_redirect_leads_into_the_house(where: str) -> None:
    async with sites() as web:
        web.names |= {SITE: [[HERE]], "house.example": [["10.0.0.1"]]}
        with pytest.raises((WebRefused, WebFailed)):
            await web.client().get(web.url(SITE, f"/to?where={quote(where, safe='')}"))

    assert {path for _, path, _ in web.requests} == {"/to"}


async def test_a_redirect_to_another_site_takes_no_headers_along_and_each_hop_is_checked() -> None:
    async with sites() as web:
        web.names |= {SITE: [[HERE]], "other.example": [[HERE]]}
        there = quote(web.url("other.example", "/x"), safe="")
        page = await web.client().get(
            web.url(SITE, f"/to?where={there}"), headers={"Authorization": "secret"}
        )

    assert page.url.endswith("/x")
    assert ["Authorization" in headers for *_, headers in web.requests] == [True, False]
    assert web.asked == [SITE, "other.example"]


async def test_a_list_of_hosts_holds_for_every_hop() -> None:
    async with sites() as web:
        web.names |= {SITE: [[HERE]], "other.example": [[HERE]]}
        net = Net(web.resolve, lambda address: True, (web.port,))
        client = SafeClient((SITE,), net=net)
        await client.get(web.url(SITE))
        there = quote(web.url("other.example"), safe="")
        for url in (web.url("other.example"), web.url(SITE, f"/to?where={there}")):
            with pytest.raises(WebRefused, match="operator's list"):
                await client.get(url)
        with pytest.raises(WebRefused):
            await SafeClient((), net=net).get(web.url(SITE))


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/loop", "redirects"),
        ("/bomb", "larger"),
        ("/endless", "larger"),
        ("/slow", "no answer within"),
        ("/picture", "image/png"),
        ("/gone", "404"),
        ("/charset", "LookupError"),
    ],
)
async def test_what_is_endless_slow_packed_or_of_another_kind_is_left(path: str, told: str) -> None:
    async with sites() as web:
        web.names[SITE] = [[HERE]]
        with pytest.raises((WebRefused, WebFailed), match=told):
            await web.client(timeout_s=1.0).get(web.url(SITE, path))


async def test_a_packed_page_is_unpacked() -> None:
    async with sites() as web:
        web.names[SITE] = [[HERE]]
        assert (await web.client().get(web.url(SITE, "/packed"))).text == "hello"


async def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    async with sites() as web:
        web.names[SITE] = [[HERE]]
        assert (await web.client().get(web.url(SITE))).status == 200


async def test_a_name_that_is_not_there_is_told() -> None:
    async with sites() as web:
        with pytest.raises(WebFailed, match="no such host"):
            await web.client().get(web.url("nobody.example"))
