"""The page of the real bot in a real Chromium: asked, streamed, reloaded, killed, remembered.

With FIRSTLINE_SCREENSHOTS set to a folder, the conversation is kept there as pictures
(`docs/pictures/page.png` is `page-light.png`). The planner is scripted; the OCR is real.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, ViewportSize, async_playwright, expect

from adapters.models.scripted_server import ScriptedServer
from tests.adapters.chat.browser_bot import ARGS, CHROMIUM
from tests.end_to_end.bot_process import bot_process
from tests.end_to_end.support_script import QUESTION, support
from tests.pictures import error_window

SHOTS = os.environ.get("FIRSTLINE_SCREENSHOTS")
SIZE: ViewportSize = {"width": 1280, "height": 800}
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine's PATH"),
]


def settings(url: str) -> str:
    routes = "".join(
        f"""
[models.routes.{name}]
backend = "openai_api"
base_url = "{url}"
model = "scripted"
context_tokens = 8192
"""
        for name in ("moe", "mini")
    )
    return f"""{routes}
[roles]
planner = ["moe", "mini"]
vision = ["ocr"]
[turns]
lease_s = 2
renew_s = 0.5
sweep_s = 0.5
"""


@pytest.fixture
async def chromium() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        yield browser
        await browser.close()


async def ask(page: Page, text: str) -> None:
    await page.fill("#text", text)
    await page.press("#text", "Enter")


async def answered(page: Page, count: int) -> None:
    await expect(page.locator(".assistant")).to_have_count(count)
    await expect(page.locator(".assistant").last).to_have_attribute(
        "data-state", "done", timeout=20_000
    )


async def shoot(page: Page) -> None:
    if not SHOTS:
        return
    await page.locator("#scroll").evaluate("box => box.scrollTo(0, box.scrollHeight)")
    for scheme in ("dark", "light"):
        await page.emulate_media(color_scheme=scheme)
        await page.wait_for_timeout(300)
        await page.screenshot(path=Path(SHOTS) / f"page-{scheme}.png")


async def test_a_conversation_on_the_page_streams_switches_and_outlives_a_kill(
    tmp_path: Path, chromium: Browser
) -> None:
    picture = tmp_path / "rollout.png"
    picture.write_bytes(error_window())
    async with ScriptedServer(support) as url, bot_process(tmp_path, settings(url), {}) as bot:
        page = await chromium.new_page(viewport=SIZE)
        page.set_default_timeout(15_000)
        await page.goto(bot.url)
        await page.set_input_files("#picker", picture)
        await ask(page, QUESTION)

        await expect(page.locator(".assistant")).to_have_attribute("data-state", "working")
        body = page.locator(".assistant .body")
        await expect(body).to_contain_text("web-07", timeout=20_000)
        assert "391" not in await body.inner_text(), "it streams"
        await answered(page, 1)
        await expect(body).to_contain_text("391 GB")
        await page.locator(".steps summary").click()
        step = page.locator(".steps li").last
        await expect(step).to_contain_text("calculate")
        await expect(step).to_contain_text("17*23")
        await expect(step).to_contain_text("391")
        await expect(page.locator(".user .picture img")).to_be_visible()
        await shoot(page)

        await ask(page, "/model mini")
        await expect(page.locator(".notice")).to_contain_text("mini")
        await page.reload()
        await expect(page.locator(".said")).to_have_text(QUESTION)
        await expect(page.locator(".assistant .body")).to_contain_text("391 GB")

        await bot.kill()
        await bot.start()
        await page.goto(bot.url)
        await page.get_by_role("link", name=QUESTION[:20]).click()
        await expect(page.locator(".assistant .body")).to_contain_text("391 GB")
        await expect(page.locator(".steps li")).to_contain_text("17*23")
        await ask(page, "What was the error code?")
        await answered(page, 2)
        await expect(page.locator(".assistant .body").last).to_contain_text("0x80070005")
