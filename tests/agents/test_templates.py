"""Prompts as the model families read them, and nothing a person types acts as a tag."""

from __future__ import annotations

import re
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.ports import ImageData, PromptMessage
from agents.prompts.templates import TemplateFamily, plain, render, stop_tags

FAMILIES: tuple[TemplateFamily, ...] = get_args(TemplateFamily)
TAGS = (
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
    "<|end|>",
    "<|endoftext|>",
    "<|image_1|>",
    "<|placeholder1|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|tool|>",
    "<|tool_call|>",
    "<s>",
    "</s>",
    "<unk>",
    "<repo_name>",
    "<reponame>",
    "<file_sep>",
    "<filename>",
    "<gh_stars>",
    "<issue_start>",
    "<issue_comment>",
    "<issue_closed>",
    "<jupyter_start>",
    "<jupyter_text>",
    "<jupyter_code>",
    "<jupyter_output>",
    "<jupyter_script>",
    "<empty_output>",
    "<tool_call>",
    "</tool_call>",
    "<think>",
    "<ov_genai_image_0>",
)
SYSTEM = PromptMessage("system", "Be kind.")
QUESTION = PromptMessage("user", "Hello?")
PIXELS = ImageData(b"", "image/png")

hostile = st.lists(
    st.one_of(st.sampled_from(TAGS), st.sampled_from(["<", "|", ">", "<|", "|>", "im_end", "\n"]),
              st.text(max_size=5)),
    max_size=12,
).map("".join)  # fmt: skip


def test_phi3_reads_its_own_tags() -> None:
    prompt = render("phi3", [SYSTEM, QUESTION])

    assert prompt == "<|system|>\nBe kind.<|end|>\n<|user|>\nHello?<|end|>\n<|assistant|>\n"


def test_chatml_reads_its_own_tags() -> None:
    assert render("chatml", [SYSTEM, QUESTION]) == (
        "<|im_start|>system\nBe kind.<|im_end|>\n"
        "<|im_start|>user\nHello?<|im_end|>\n<|im_start|>assistant\n"
    )


def test_image_numbers_run_on_over_the_whole_prompt() -> None:
    first = PromptMessage("user", "Compare.", (PIXELS, PIXELS))
    third = PromptMessage("user", "And this?", (PIXELS,))

    prompt = render("phi3_vision", [first, PromptMessage("assistant", "Alike."), third])

    assert "<|user|>\n<|image_1|>\n<|image_2|>\nCompare.<|end|>" in prompt
    assert "<|user|>\n<|image_3|>\nAnd this?<|end|>" in prompt


def test_a_family_without_image_tags_refuses_images() -> None:
    with pytest.raises(ValueError, match="no image tags"):
        render("chatml", [PromptMessage("user", "Look.", (PIXELS,))])


@pytest.mark.parametrize("family", FAMILIES)
def test_a_broken_tag_can_still_be_read_by_a_person(family: TemplateFamily) -> None:
    tag = stop_tags(family)[0]

    assert f"< {tag[1:]}" in render(family, [PromptMessage("user", f"What is {tag}?")])


def test_ordinary_text_is_left_alone() -> None:
    text = "if a <b and c|> d: <b>bold</b>, f <| g, x|>y, <https://example.com>"

    assert plain(text) == text


@settings(max_examples=200, deadline=None)
@given(hostile)
def test_no_control_tag_of_any_family_survives_in_a_text(text: str) -> None:
    shown = plain(text)

    assert not [tag for tag in TAGS if tag in shown]
    assert not re.search(r"<\|[^<>|\s]{1,64}\|>", shown)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(FAMILIES), hostile, hostile, hostile)
def test_a_prompt_has_only_the_tags_of_its_own_messages(
    family: TemplateFamily, system: str, question: str, answer: str
) -> None:
    messages = [
        PromptMessage("system", system),
        PromptMessage("user", question),
        PromptMessage("assistant", answer),
    ]
    empty = render(family, [PromptMessage(message.role, "") for message in messages])

    tags = re.compile(r"<\|[^<>|\s]{1,64}\|>")

    assert tags.findall(render(family, messages)) == tags.findall(empty)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(FAMILIES), hostile, hostile, hostile)
def test_the_prompt_of_a_turn_begins_the_prompt_of_the_next(
    family: TemplateFamily, question: str, answer: str, follow_up: str
) -> None:
    turn = [SYSTEM, PromptMessage("user", question)]
    following = [*turn, PromptMessage("assistant", answer), PromptMessage("user", follow_up)]

    assert render(family, following).startswith(render(family, turn) + plain(answer))
