"""What a model may write, against what a platform may make of it (rows I1, I4, I5)."""

from __future__ import annotations

import random
import re
import unicodedata

import pytest

from adapters.chat.safe_text import visible
from adapters.chat.slack_blocks import PART_CHARS, content
from adapters.chat.slack_text import preview
from adapters.chat.splitting import split_markdown, split_pieces
from adapters.chat.types import Draft
from tests.drills.figures import RecordFigure

FULL = [pytest.mark.drill, pytest.mark.timeout(900)]
DISCORD_CHARS = 2000
# What Slack reads as an entity that notifies (docs.slack.dev, formatting text for app surfaces).
PING = re.compile(r"<(?:!(?:channel|here|everyone|group|subteam)|@[UWB]|#[CG])", re.IGNORECASE)
PINGS = (
    *("<!channel>", "<!here|here>", "<!everyone>", "<!subteam^S0123>", "<@U0123ABCD>", "<@W1>"),
    *("<!CHANNEL>", "<@U1|ann>", "<#C0123>", "@everyone", "@here", "<@&123456789>", "<@!42>"),
)
WORDS = (
    "hello",
    "`code`",
    "**bold**",
    "&lt;!channel&gt;",
    "<",
    ">",
    "&",
    "\n",
    "\n\n",
    " ",
    "- x\n",
)
LINES = (
    *(
        "A line of prose that goes on for a while. ",
        "短い文。",
        "🇩🇪🇫🇷👩‍👩‍👧‍👦 ",
        "עברית ",
        "x" * 130,
    ),
    *("- an item\n", "  - a nested one\n", "1. first\n", "| a | b |\n|---|---|\n| 1 | 2 |\n"),
    *(
        "# A heading\n",
        "> a quote\n",
        "\n",
        "\n\n",
        "[a link](https://example.com/a_b)",
        "e\u0301" * 9,
    ),
)
HOSTILE = "\x00\x07\x1b\u200b\u200d\u202e\u2066\u2069\ufeff\U000e0041\u0301\u0336\ud800\u3164"


def a_document(dice: random.Random, pieces: int) -> str:
    """Prose, lists, tables and code blocks, fences of three to five marks, closed or not."""
    found: list[str] = []
    for _ in range(pieces):
        if dice.random() < 0.2:
            fence = dice.choice("`~") * dice.randint(3, 5)
            body = "".join(dice.choice(LINES) for _ in range(dice.randint(0, 40)))
            body = body.replace("`", "'").replace("~", "-")
            found.append(f"\n{fence}{dice.choice(('', 'python', 'c++'))}\n{body}\n{fence}\n")
        else:
            found.append(dice.choice(LINES))
    return "".join(found)


def has_open_fence(part: str) -> bool:
    opened = ""
    for line in part.split("\n"):
        found = re.match(r"(`{3,}|~{3,})(.*)$", line)
        if found is None:
            continue
        if not opened:
            opened = found[1]
        elif found[1].startswith(opened) and not found[2].strip():
            opened = ""
    return bool(opened)


@pytest.mark.parametrize("answers", [300, pytest.param(10_000, marks=FULL)])
def test_no_answer_loses_a_character_or_a_fence_where_it_is_split(
    answers: int, record_figure: RecordFigure
) -> None:
    dice = random.Random(answers)
    lost = broken = over = parts_made = 0
    for number in range(answers):
        text = a_document(dice, 60 if number % 100 else 3_000)
        limit = dice.choice((DISCORD_CHARS, PART_CHARS, 300))
        lost += "".join(piece.body for piece in split_pieces(text, limit)) != text
        parts = split_markdown(text, limit)
        parts_made += len(parts)
        over += sum(len(part) > limit for part in parts)
        broken += sum(has_open_fence(part) for part in parts)
    figure = f"{answers:,} random answers in {parts_made:,} parts: {lost} with lost characters, "
    record_figure(
        row="I5",
        promise="A long answer is split whole: no character lost, no fence broken, none too long",
        figure=f"{figure}{broken} broken fences, {over} parts over the limit",
    )
    assert (lost, broken, over) == (0, 0, 0)


@pytest.mark.parametrize("texts", [2_000, pytest.param(1_000_000, marks=FULL)])
def test_nobody_is_pinged_on_slack_by_what_a_model_writes(
    texts: int, record_figure: RecordFigure
) -> None:
    dice, pings = random.Random(texts), 0
    for number in range(texts):
        text = "".join(dice.choice(PINGS if dice.random() < 0.4 else WORDS) for _ in range(8))
        shown = preview(Draft(text), PART_CHARS) if number % 2 else text
        sent = content("C1", shown)
        said = [sent["text"], *(block.get("text", "") for block in sent["blocks"])]
        pings += sum(bool(PING.search(each)) for each in said)
        assert (sent["link_names"], sent["parse"]) == (False, "none")
        assert (sent["unfurl_links"], sent["unfurl_media"]) == (False, False)
    record_figure(
        row="I1",
        promise="No text of a model, a tool or a file notifies anybody",
        figure=f"{texts:,} texts on Slack, whole and as drafts: {pings} pings",
    )
    assert pings == 0


@pytest.mark.parametrize("texts", [2_000, pytest.param(100_000, marks=FULL)])
def test_no_hidden_character_is_shown_as_nothing(texts: int, record_figure: RecordFigure) -> None:
    dice, hidden, kept = random.Random(texts), 0, 0
    for _ in range(texts):
        text = "".join(dice.choice(HOSTILE + "ab é🇩🇪") for _ in range(20))
        shown = visible(f"{text}👩‍👩‍👧")
        hidden += sum(
            unicodedata.category(char) in ("Cc", "Cs", "Co") or char in "\u202e\u2066\u2069\ufeff"
            for char in shown.replace("\n", "").replace("\t", "")
        )
        kept += shown.endswith("👩‍👩‍👧")
    record_figure(
        row="I4",
        promise="Control, bidi and invisible characters are shown or dropped; emoji stay whole",
        figure=f"{texts:,} texts: {hidden} hidden characters, {texts - kept} torn emoji",
    )
    assert (hidden, kept) == (0, texts)
