"""Whether a model server answers and what it has, asked quickly and without loading anything."""

from __future__ import annotations

import aiohttp
import msgspec

PROBE_TIMEOUT_S = 2.0
_MAX_BYTES = 2 * 1024 * 1024


class Probe(msgspec.Struct, frozen=True):
    """What came back; `models` are the server's own names, empty where it tells none."""

    reachable: bool
    detail: str
    models: tuple[str, ...] = ()


class _Named(msgspec.Struct):
    name: str = ""


class _Listing(msgspec.Struct):
    """Ollama's tags."""

    models: list[_Named] = []


async def probe_ollama(base_url: str, *, api_key: str | None = None) -> Probe:
    return await _ask(f"{base_url.rstrip('/')}/api/tags", api_key)


async def probe_llama_server(base_url: str, *, api_key: str | None = None) -> Probe:
    return await _ask(f"{base_url.rstrip('/')}/health", api_key)


async def _ask(url: str, api_key: str | None) -> Probe:
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    timeout = aiohttp.ClientTimeout(total=PROBE_TIMEOUT_S)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, headers=headers) as session,
            session.get(url, allow_redirects=False) as response,
        ):
            body = await response.content.read(_MAX_BYTES)
            return _read(response.status, body)
    except (TimeoutError, aiohttp.ClientError, OSError) as error:
        kind = "no answer in time" if isinstance(error, TimeoutError) else type(error).__name__
        return Probe(reachable=False, detail=kind)


def _read(status: int, body: bytes) -> Probe:
    if status in (401, 403):
        return Probe(reachable=False, detail=f"the key is missing or refused ({status})")
    if status == 503:
        return Probe(reachable=False, detail="loading its model or busy (503)")
    if status != 200:
        return Probe(reachable=False, detail=f"answers with {status}")
    try:
        listing = msgspec.json.decode(body, type=_Listing)
    except msgspec.MsgspecError:
        return Probe(reachable=True, detail="answers")
    names = tuple(each.name for each in listing.models)
    return Probe(reachable=True, detail="answers", models=names)
