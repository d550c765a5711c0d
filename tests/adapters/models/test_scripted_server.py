"""The scripted server as other clients see it."""

from __future__ import annotations

import asyncio
import sys

import aiohttp
import pytest

from adapters.models.scripted import Say, demo_policy
from adapters.models.scripted_server import ScriptedServer


@pytest.mark.parametrize("delay_s", [0.0, 0.002])
async def test_the_openai_sdk_reads_the_same_text(delay_s: float) -> None:
    openai = pytest.importorskip("openai", reason="the openai SDK is a cross-check only")
    said = "Guten Tag, café ☕!\n" * 3
    async with ScriptedServer(lambda request: Say(said, delay_s=delay_s)) as url:
        client = openai.AsyncOpenAI(base_url=url, api_key="k", max_retries=0)
        async with client:
            stream = await client.chat.completions.create(
                model="scripted",
                messages=[{"role": "user", "content": "hello"}],
                stream=True,
                stream_options={"include_usage": True},
            )
            chunks = [chunk async for chunk in stream]
            whole = await client.chat.completions.create(
                model="scripted", messages=[{"role": "user", "content": "hello"}]
            )

    texts = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(texts) == said == whole.choices[0].message.content
    assert chunks[-1].usage is not None
    assert chunks[-1].usage == whole.usage


async def test_a_wrong_key_and_a_wrong_body_are_refused() -> None:
    async with (
        ScriptedServer(demo_policy, api_key="right") as url,
        aiohttp.ClientSession() as session,
    ):
        async with session.post(f"{url}/chat/completions", json={}) as answer:
            assert answer.status == 401
        headers = {"Authorization": "Bearer right"}
        async with session.post(f"{url}/chat/completions", json={}, headers=headers) as answer:
            assert answer.status == 400
            assert "messages" in (await answer.json())["error"]["message"]


async def test_the_command_line_prints_its_address_and_serves() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "adapters.models.scripted_server", stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(20):
            url = (await process.stdout.readline()).decode().strip()
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"{url}/models") as answer,
            ):
                assert (await answer.json())["data"][0]["id"] == "scripted"
    finally:
        process.terminate()
        await process.wait()
