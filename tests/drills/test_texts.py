"""What a model may write: cut without loss, pinging nobody, hiding nothing (rows I1, I4, I5)."""

from __future__ import annotations

import random
import re
import unicodedata

import pytest
from discord.http import handle_message_parameters

from adapters.chat.discord_commands import NO_MENTIONS
from adapters.chat.discord_reply import preview as discord_preview
from adapters.chat.mattermost_reply import safe
from adapters.chat.safe_text import unhidden, visible
from adapters.chat.slack_blocks import PART_CHARS, content
from adapters.chat.slack_text import preview as slack_preview
from adapters.chat.splitting import split_markdown, split_pieces
from adapters.chat.types import Draft
from bot.reply import final_parts
from tests.drills.figures import RecordFigure

SEED = 20261123
WORDS = [
    "a",
    "word",
    "日本語",
    "שלום",
    "👩‍👩‍👧‍👦",
    "🇩🇪",
    "👍🏽",
    "e\u0301",
    "`x`",
    "**bold**",
    "x" * 400,
]
PINGS = [
    "@everyone", "@alice", "@here", "@channel", "@all", "<@&123456789012345678>",
    "<@123456789012345678>",
    "<@!12345>", "<!channel>", "<!here>", "<!everyone>", "<!HERE|here>", "<!subteam^S012|@team>",
    "<@U012ABC>", "<@W012ABC|name>", "<#C012ABC>", "<!group>",
]  # fmt: skip
AROUND = ["", " ", "\n", "`", "**", "<", ">", "&lt;", "\\", "\u200b", "[", "](", "```\n", "!", "@"]
HIDDEN = ["\x1b[31m", "\u202e", "\u2066", "\u200b", "\ufeff", "\U000e0041", "\x00", "\x07", "\r"]
KEPT = ["👩‍👩‍👧", "می‌خواهم", "a\u0301", "日本", "\n", "\t", "👍🏽", "❤️"]
SLACK_PING = re.compile(r"<(?:@[UWB]|!(?:here|channel|everyone|group|subteam)|#C)", re.IGNORECASE)


def prose(draw: random.Random) -> str:
    words = " ".join(draw.choices(WORDS, k=draw.randrange(1, 40)))
    return words + draw.choice([".", "!", "。", ""]) + draw.choice(["\n", "\n\n"])


def code(draw: random.Random) -> str:
    run, indent = draw.choice(["```", "~~~~", "`````"]), draw.choice(["", "  ", "> "])
    inner = "```\n" if len(run) > 3 and draw.random() < 0.3 else ""
    lines = [indent + draw.choice(["x = 1", "", "y" * 300, inner.strip()]) + "\n" for _ in "123456"]
    return f"{indent}{run}{draw.choice(['', 'py', 'c++ x=y'])}\n{''.join(lines)}{indent}{run}\n"


def listing(draw: random.Random) -> str:
    return "".join(f"{'  ' * (n % 3)}- {prose(draw).strip()}\n" for n in range(draw.randrange(9)))


def table(draw: random.Random) -> str:
    rows = "".join(f"| {draw.choice(WORDS)} | {n} |\n" for n in range(draw.randrange(20)))
    return "\n| a | b |\n|---|---|\n" + rows + "\n"


def document(draw: random.Random, blocks: int) -> str:
    kinds = draw.choices([prose, code, listing, table], k=blocks)
    return "".join(kind(draw) for kind in kinds)


def open_fences(part: str) -> int:
    """Code blocks left open at the end, counted apart from the code under test."""
    run = ""
    for line in part.split("\n"):
        found = re.match(r"(?:  |> )?(`{3,}|~{3,})(.*)$", line)
        if found and not run:
            run = found[1]
        elif found and found[1].startswith(run) and not found[2].strip():
            run = ""
    return int(bool(run))


@pytest.mark.parametrize(
    ("answers", "longest"),
    [
        (400, 200_000),
        pytest.param(100_000, 1_000_000, marks=[pytest.mark.drill, pytest.mark.timeout(1800)]),
    ],
)
def test_an_answer_is_cut_without_a_lost_character_or_an_open_fence(
    answers: int, longest: int, record_figure: RecordFigure
) -> None:
    draw = random.Random(SEED)
    lost = open_blocks = too_long = torn = parts = 0
    for number in range(answers):
        text = document(draw, draw.randrange(1, 12))
        if number == 0:
            while len(text) < longest:
                text += document(draw, 40)
        limit = draw.choice([256, 700, 2000, 4000, PART_CHARS])
        pieces = split_pieces(text, limit)
        shown = split_markdown(text, limit)
        parts += len(shown)
        lost += "".join(each.body for each in pieces) != text
        open_blocks += sum(map(open_fences, shown))
        too_long += sum(len(each) > limit for each in shown)
        torn += sum(unicodedata.category(each[0]) in ("Mn", "Mc", "Cs") for each in shown)

    record_figure(
        row="I5",
        promise="an answer is cut into parts without loss, no code block open at a cut",
        figure=f"{answers} answers (one of {longest} characters), {parts} parts: {lost} lost text, "
        f"{open_blocks} open blocks, {too_long} over the limit, {torn} torn characters",
    )
    assert (lost, open_blocks, too_long, torn) == (0, 0, 0, 0)


def pings_on_slack(text: str) -> int:
    sent = content("C1", text)
    quiet = not (sent["link_names"] or sent["unfurl_links"] or sent["unfurl_media"])
    shown = [sent["text"], *(each["text"] for each in sent["blocks"])]
    return sum(len(SLACK_PING.findall(each)) for each in shown) + (not quiet)


def pings_on_discord(text: str) -> int:
    with handle_message_parameters(content=text, allowed_mentions=NO_MENTIONS) as sent:
        allowed = (sent.payload or {})["allowed_mentions"]
    return bool(allowed["parse"] or allowed.get("users") or allowed.get("roles"))


def pings_on_mattermost(text: str) -> int:
    """Words as its server takes them apart to look for its keywords."""
    words = re.split(r"[^\w.@-]+", safe(text))
    parts = {part for word in words for part in (word.strip("._-"), *re.split(r"[.-]", word))}
    return len({part.lower() for part in parts} & {"@all", "@channel", "@here", "@alice"})


@pytest.mark.parametrize(
    "texts",
    [5_000, pytest.param(1_000_000, marks=[pytest.mark.drill, pytest.mark.timeout(1800)])],
)
def test_no_text_pings_anybody_whole_in_parts_or_as_a_draft(
    texts: int, record_figure: RecordFigure
) -> None:
    draw = random.Random(SEED)
    slack = discord = mattermost = 0
    for number in range(texts):
        words = draw.choices(PINGS, k=3) + draw.choices(AROUND, k=4)
        draw.shuffle(words)
        text = "x" * draw.randrange(235, 257) * (number % 7 == 0) + "".join(words)
        for part in [text, *(split_markdown(text, 256) if number % 7 == 0 else ())]:
            slack += pings_on_slack(part)
            discord += pings_on_discord(part)
            mattermost += pings_on_mattermost(part)
        draft = Draft(text[: draw.randrange(len(text) + 1)], status=text)
        slack += pings_on_slack(slack_preview(draft, PART_CHARS))
        discord += pings_on_discord(discord_preview(draft))

    record_figure(
        row="I1",
        promise="no mention a model writes pings anybody",
        figure=f"{texts} texts, whole, in parts and as drafts: {slack} pings on Slack, "
        f"{discord} on Discord, {mattermost} on Mattermost",
    )
    assert (slack, discord, mattermost) == (0, 0, 0)


@pytest.mark.parametrize(
    "texts", [3_000, pytest.param(100_000, marks=[pytest.mark.drill, pytest.mark.timeout(600)])]
)
def test_no_invisible_character_is_shown_and_emoji_stay_whole(
    texts: int, record_figure: RecordFigure
) -> None:
    draw = random.Random(SEED)
    hidden = torn = piles = 0
    for _ in range(texts):
        harmless = draw.choices(KEPT, k=5)
        text = "".join(each + draw.choice(HIDDEN) for each in harmless) + "a" + "\u0300" * 90
        for shown in (
            visible(text),
            unhidden(text),
            *final_parts(text, (), part_chars=2000, max_parts=1),
        ):
            left = set(str(shown)) - set("\n\t\r\u200c\u200d")
            hidden += any(unicodedata.category(each) in ("Cc", "Cf", "Cs", "Co") for each in left)
            torn += not all(each in str(shown) for each in harmless)
            piles += "\u0300" * 5 in str(shown)

    record_figure(
        row="I4",
        promise="escapes, bidi and invisible characters are shown as code points or dropped",
        figure=f"{texts} texts: {hidden} with a hidden character, {torn} torn emoji, {piles} piles",
    )
    assert (hidden, torn, piles) == (0, 0, 0)
