"""The page in a real Chromium, on a real server."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.async_api import Page, async_playwright, expect

from tests.adapters.chat.browser_bot import EchoBot, Memory, bot_at_work

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ARGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SHOTS = os.environ.get("FIRSTLINE_SCREENSHOTS")  # a folder, to look at; nothing is compared
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine's PATH"),
]


@asynccontextmanager
async def open_page(at: str, **context: Any) -> AsyncIterator[Page]:
    """The page, open and connected; fails on any script error or blocked load."""
    faults: list[str] = []
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        page = await chromium.new_page(**({"viewport": {"width": 1180, "height": 820}} | context))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda line: faults.append(line.text) if line.type == "error" else None)
        page.set_default_timeout(10_000)
        await page.goto(at)
        await expect(page.locator("#text")).to_be_focused()
        yield page
        await chromium.close()
    assert faults == []


async def shoot(page: Page, name: str) -> None:
    if SHOTS:
        await page.wait_for_timeout(250)
        await page.screenshot(path=Path(SHOTS) / f"{name}.png")


async def ask(page: Page, text: str) -> None:
    await page.fill("#text", text)
    await page.press("#text", "Enter")


async def answered(page: Page) -> None:
    await expect(page.locator(".assistant").last).to_have_attribute("data-state", "done")


def screenshot_of_an_error(path: Path) -> Path:
    Image.new("RGB", (420, 180), (206, 222, 240)).save(path)
    return path


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[tuple[str, EchoBot]]:
    async with bot_at_work(tmp_path) as (at, bot):
        yield at, bot


async def test_an_answer_streams_in_with_its_steps(served: tuple[str, EchoBot]) -> None:
    at, bot = served
    bot.may_finish.clear()
    async with open_page(at) as page:
        await expect(page.locator("#banner")).to_contain_text("Demonstration model")
        await shoot(page, "empty-light")
        await ask(page, "What is 17*23?")

        await expect(page.locator(".assistant")).to_have_attribute("data-state", "working")
        await expect(page.locator(".steps li")).to_contain_text("17*23 → 391")
        await expect(page.locator(".assistant .body")).to_contain_text("computed by")
        await expect(page.locator(".assistant pre")).to_have_count(0)
        await shoot(page, "streaming-light")
        bot.may_finish.set()
        await answered(page)

        assert await page.locator(".assistant strong").inner_text() == "391"
        assert await page.locator(".assistant td").all_inner_texts() == ["a", "17", "b", "23"]
        assert await page.locator(".assistant pre").inner_text() == "print(17 * 23)  # 391"
        await expect(page.locator(".assistant .body")).to_contain_text(
            "the manual (https://docs.example.com/math)"
        )
        await expect(page.locator(".steps summary")).to_have_text("Used 1 step")
        await shoot(page, "answer-light")


async def test_an_image_is_attached_shown_and_fetched_by_the_bot(
    served: tuple[str, EchoBot], tmp_path: Path
) -> None:
    at, bot = served
    image = screenshot_of_an_error(tmp_path / "error.png")
    async with open_page(at, color_scheme="dark") as page:
        await page.set_input_files("#picker", image)
        await expect(page.locator("#files img")).to_be_visible()
        await shoot(page, "attached-dark")
        await ask(page, "What does this say?")
        await answered(page)

        await expect(page.locator("#files img")).to_have_count(0)
        shown = page.locator(".user .picture img")
        await expect(shown).to_be_visible()
        assert await shown.evaluate("image => image.naturalWidth") == 420
        assert bot.fetched == [image.read_bytes()]
        await shoot(page, "answer-dark")


async def test_a_dropped_image_is_attached_and_can_be_removed(
    served: tuple[str, EchoBot],
) -> None:
    async with open_page(served[0]) as page:
        await page.evaluate(
            """() => {
              const dataTransfer = new DataTransfer();
              dataTransfer.items.add(new File(["x"], "note.png", { type: "image/png" }));
              for (const kind of ["dragover", "drop"])
                window.dispatchEvent(new DragEvent(kind, { dataTransfer, cancelable: true }));
            }"""
        )
        await expect(page.locator("#files li")).to_have_count(1)
        await page.get_by_role("button", name="Remove note.png").click()
        await expect(page.locator("#files li")).to_have_count(0)


async def test_a_reload_keeps_the_thread_and_a_new_one_stands_beside_it(
    served: tuple[str, EchoBot],
) -> None:
    async with open_page(served[0]) as page:
        await ask(page, "What is 17*23?")
        await answered(page)
        await page.reload()

        await expect(page.locator(".user")).to_have_text("You: What is 17*23?")
        await expect(page.locator(".assistant strong")).to_have_text("391")
        await page.get_by_role("button", name="New thread").click()
        await expect(page.locator("article")).to_have_count(0)
        await page.get_by_role("link", name="What is 17*23?").click()
        await expect(page.locator(".assistant strong")).to_have_text("391")


async def test_an_open_page_goes_on_after_the_bot_restarts(tmp_path: Path) -> None:
    memory = Memory()
    async with bot_at_work(tmp_path, memory=memory) as (at, _):
        port = int(at.rpartition(":")[2])
    async with bot_at_work(tmp_path, memory=memory, port=port) as (at, _):
        pass
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        page = await chromium.new_page()
        async with bot_at_work(tmp_path, memory=memory, port=port) as (at, _):
            await page.goto(at)
            await ask(page, "first")
            await answered(page)
        await expect(page.locator("#link")).to_have_text("Reconnecting…")
        await ask(page, "second")
        await expect(page.locator("#notice")).to_contain_text("Your message is still here")
        async with bot_at_work(tmp_path, memory=memory, port=port) as (at, bot):
            await expect(page.locator("#link")).to_have_text("", timeout=10_000)
            await page.press("#text", "Enter")
            await expect(page.locator(".assistant")).to_have_count(2)
            await answered(page)
            assert [message.text for message in bot.accepted] == ["second"]
        await chromium.close()


async def test_script_and_markup_in_model_text_stay_text(served: tuple[str, EchoBot]) -> None:
    at, bot = served
    bot.answer = (
        "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'>\n\n"
        "[click](javascript:window.hacked=1) ![spy](https://evil.example/p.png)"
        " [safe](https://ok.example/\u202egnp)\u001b[31m"
    )
    async with open_page(at) as page:
        await ask(page, "<b>hello</b>")
        await answered(page)

        assert await page.evaluate("window.hacked") is None
        assert await page.locator(".assistant .body :is(script, img)").count() == 0
        links = page.locator(".assistant .body a")
        assert await links.count() == 1
        assert await links.get_attribute("rel") == "noopener noreferrer nofollow"
        body = page.locator(".assistant .body")
        await expect(body).to_contain_text("[click](javascript:window.hacked=1)")
        await expect(body).to_contain_text("⟨U+202E⟩")
        await expect(body).to_contain_text("⟨U+001B⟩")
        await expect(page.locator(".user")).to_contain_text("<b>hello</b>")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_nothing_overflows_at_360_pixels(served: tuple[str, EchoBot], scheme: str) -> None:
    at, bot = served
    bot.answer += "\n\n" + "unbroken" * 40 + "\n\n```\n" + "long line " * 40 + "\n```"
    viewport = {"width": 360, "height": 740}
    async with open_page(at, viewport=viewport, color_scheme=scheme) as page:
        await ask(page, "W" * 120)
        await answered(page)

        wide = "document.documentElement.scrollWidth > innerWidth"
        assert not await page.evaluate(wide)
        await shoot(page, f"narrow-{scheme}")
        await page.get_by_role("button", name="Threads").click()
        await expect(page.get_by_role("button", name="New thread")).to_be_focused()
        await shoot(page, f"narrow-threads-{scheme}")
        assert not await page.evaluate(wide)
        await page.keyboard.press("Escape")
        await expect(page.locator("#text")).to_be_focused()


async def test_the_page_works_by_keyboard_alone(served: tuple[str, EchoBot]) -> None:
    async with open_page(served[0]) as page:
        await page.keyboard.type("first line")
        await page.keyboard.press("Shift+Enter")
        await page.keyboard.type("second line")
        await page.keyboard.press("Enter")
        await answered(page)
        await expect(page.locator(".said")).to_have_text("first line\nsecond line")
        await expect(page.locator("#text")).to_be_focused()

        await page.locator(".steps summary").focus()
        was_open = await page.locator(".steps").get_attribute("open")
        await page.keyboard.press("Enter")
        assert (await page.locator(".steps").get_attribute("open") is None) != (was_open is None)
        await page.locator("#new").focus()
        await page.keyboard.press("Enter")
        await expect(page.locator("article")).to_have_count(0)
        await expect(page.locator("#text")).to_be_focused()


async def test_a_typed_command_is_answered_by_a_notice(served: tuple[str, EchoBot]) -> None:
    at, bot = served
    async with open_page(at) as page:
        await ask(page, "/model phi-3.5-mini")

        await expect(page.locator(".notice")).to_contain_text("The planner is now phi-3.5-mini.")
        assert not bot.accepted
