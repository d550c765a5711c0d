"""The page in a real Chromium, on a real server."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from PIL import Image
from playwright.async_api import Browser, Page, async_playwright, expect

from tests.adapters.chat.browser_bot import ARGS, CHROMIUM, EchoBot, Memory, bot_at_work

RENDER = """async (source) => {
  const { blocks, renderBlock } = await import("/page/markdown.js");
  const box = document.createElement("div");
  box.append(...blocks(source).map((block) => renderBlock(block)));
  return box.innerHTML;
}"""
SHOTS = os.environ.get("FIRSTLINE_SCREENSHOTS")  # a folder, to look at; nothing is compared
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine's PATH"),
    pytest.mark.asyncio(loop_scope="module"),  # one Chromium for all
]


@dataclass
class Served:
    """The page at an address, the bot behind it, and a browser to look with."""

    at: str
    bot: EchoBot
    chromium: Browser


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chromium() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="module")
async def served(tmp_path: Path, chromium: Browser) -> AsyncIterator[Served]:
    async with bot_at_work(tmp_path) as (at, bot):
        yield Served(at, bot, chromium)


@asynccontextmanager
async def open_page(served: Served, **context: Any) -> AsyncIterator[Page]:
    """The page, open and connected; fails on any script error or blocked load."""
    faults: list[str] = []
    sizes = {"viewport": {"width": 1180, "height": 820}}
    page = await served.chromium.new_page(**(sizes | context))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda line: faults.append(line.text) if line.type == "error" else None)
    page.set_default_timeout(10_000)
    try:
        await page.goto(served.at)
        await expect(page.locator("#text")).to_be_focused()
        yield page
    finally:
        await page.close()
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


async def test_an_answer_streams_in_with_its_steps(served: Served) -> None:
    bot = served.bot
    bot.may_finish.clear()
    async with open_page(served) as page:
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
    served: Served, tmp_path: Path
) -> None:
    bot = served.bot
    image = screenshot_of_an_error(tmp_path / "error.png")
    async with open_page(served, color_scheme="dark") as page:
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
    served: Served,
) -> None:
    async with open_page(served) as page:
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
    served: Served,
) -> None:
    async with open_page(served) as page:
        await ask(page, "What is 17*23?")
        await answered(page)
        await page.reload()

        await expect(page.locator(".user")).to_have_text("You: What is 17*23?")
        await expect(page.locator(".assistant strong")).to_have_text("391")
        await page.get_by_role("button", name="New thread").click()
        await expect(page.locator("article")).to_have_count(0)
        await page.get_by_role("link", name="What is 17*23?").click()
        await expect(page.locator(".assistant strong")).to_have_text("391")


async def test_an_open_page_goes_on_after_the_bot_restarts(
    tmp_path: Path, chromium: Browser
) -> None:
    memory, page = Memory(), await chromium.new_page()
    async with bot_at_work(tmp_path, memory=memory) as (at, _):
        await page.goto(at)
        await ask(page, "first")
        await answered(page)
    await expect(page.locator("#link")).to_have_text("Reconnecting…")
    await ask(page, "second")
    await expect(page.locator("#notice")).to_contain_text("Your message is still here")

    port = int(at.rpartition(":")[2])
    async with bot_at_work(tmp_path, memory=memory, port=port) as (_, bot):
        await expect(page.locator("#link")).to_have_text("", timeout=10_000)
        await page.press("#text", "Enter")
        await expect(page.locator(".assistant")).to_have_count(2)
        await answered(page)
        assert [message.text for message in bot.accepted] == ["second"]
        await page.close()


RENDERED = [
    ("a\nb", "<p>a<br>b</p>"),
    ("# One #", "<h3>One</h3>"),
    (
        "- a\n  1. b\n  2. c\n- d",
        "<ul><li>a<ol><li>b</li><li>c</li></ol></li><li>d</li></ul>",
    ),
    ("1. a\n\n2. b", "<ol><li>a</li><li>b</li></ol>"),
    ("3. a", '<ol start="3"><li>a</li></ol>'),
    ("> *so* it is", "<blockquote><p><em>so</em> it is</p></blockquote>"),
    ("snake_case_name 2*3*4", "<p>snake_case_name 2*3*4</p>"),
    ("``a ` b`` <i>", "<p><code>a ` b</code> &lt;i&gt;</p>"),
    ("**a `b` c**", "<p><strong>a <code>b</code> c</strong></p>"),
    ("[x](data:text/html,1)", "<p>[x](data:text/html,1)</p>"),
]


async def test_markdown_becomes_nodes(served: Served) -> None:
    async with open_page(served) as page:
        for source, rendered in RENDERED:
            assert await page.evaluate(RENDER, source) == rendered


async def test_an_unclosed_code_block_and_hostile_repeats_render_quickly(served: Served) -> None:
    async with open_page(served) as page:
        shown = await page.evaluate(RENDER, "```sh\nls <b>")
        assert "<code>ls &lt;b&gt;</code>" in shown
        for unit in ("*", "**a", "[", "[a](", "`", "_a ", "> ", "- \n ", "|a", "http://", "(("):
            started = time.monotonic()
            await page.evaluate(RENDER, unit * 10_000)
            assert time.monotonic() - started < 5, unit


async def test_script_and_markup_in_model_text_stay_text(served: Served) -> None:
    bot = served.bot
    bot.answer = (
        "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'>\n\n"
        "[click](javascript:window.hacked=1) ![spy](https://evil.example/p.png)"
        " [safe](https://ok.example/\u202egnp)\u001b[31m"
    )
    async with open_page(served) as page:
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
async def test_nothing_overflows_at_360_pixels(served: Served, scheme: str) -> None:
    bot = served.bot
    bot.answer += "\n\n" + "unbroken" * 40 + "\n\n```\n" + "long line " * 40 + "\n```"
    viewport = {"width": 360, "height": 740}
    async with open_page(served, viewport=viewport, color_scheme=scheme) as page:
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


async def test_the_page_works_by_keyboard_alone(served: Served) -> None:
    async with open_page(served) as page:
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


async def test_a_typed_command_is_answered_by_a_notice(served: Served) -> None:
    bot = served.bot
    async with open_page(served) as page:
        await ask(page, "/model phi-3.5-mini")

        await expect(page.locator(".notice")).to_contain_text("The planner is now phi-3.5-mini.")
        assert not bot.accepted
