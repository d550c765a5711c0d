"""Prompts as the model families read them, and nothing a person types acts as a tag."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, models, pre_tokenizers

from agents.ports import ImageData, PromptMessage
from agents.prompts.templates import TemplateFamily, plain, render, stop_tags
from tests.agents.published_templates import PHI3_IDS, PHI4_IDS, PUBLISHED, Published

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
    "<|im_sep|>",
    "<|im_end|>",
    "<|tool|>",
    "<|/tool|>",
    "<|tool_call|>",
    "<|/tool_call|>",
    "<|tool_response|>",
    "<|audio_1|>",
    "<|image|>",
    "<|endoftext10|>",
    "<|fim_prefix|>",
    "<|dummy_85|>",
    "<|vision_start|>",
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


def said(role: str, text: str) -> dict[str, str]:
    return {"role": role, "content": plain(text)}


conversations = st.tuples(
    st.one_of(st.none(), st.text(max_size=20), hostile),
    st.lists(st.tuples(hostile, hostile), max_size=3),
    st.one_of(st.text(max_size=20), hostile),
)


@pytest.mark.parametrize("published", PUBLISHED, ids=str)
@settings(max_examples=60, deadline=None)
@given(conversations)
def test_a_prompt_is_what_the_published_template_makes_of_the_conversation(
    published: Published, conversation: tuple[str | None, list[tuple[str, str]], str]
) -> None:
    system, exchanges, question = conversation
    messages = [PromptMessage("system", system)] if system is not None else []
    for asked, answer in exchanges:
        messages += [PromptMessage("user", asked), PromptMessage("assistant", answer)]
    messages.append(PromptMessage("user", question))
    known = [said(each.role, each.text) for each in messages]
    if published.family == "phi3_old" and system is not None:
        # No system role: llama.cpp's own tests expect its text before the first question.
        both = f"{known[0]['content']}\n" if system else ""
        known[:2] = [said("user", both + known[1]["content"])]

    reference = published.rendered(known)

    if published.family == "phi3_old":
        reference = reference.removeprefix(published.bos)  # the engine's own business
    assert render(published.family, messages) == reference


def test_every_family_has_a_published_template_but_the_mixture_of_experts() -> None:
    assert {each.family for each in PUBLISHED} == {*FAMILIES} - {"phi3_moe"}
    assert render("phi3_moe", [SYSTEM, QUESTION]) == render("phi3", [SYSTEM, QUESTION])
    assert stop_tags("phi3_moe") == stop_tags("phi3")


def test_a_tokenizer_with_phi3s_own_ids_reads_the_tags_and_the_letters() -> None:
    system, user, assistant, end, newline = 32006, 32010, 32001, 32007, 13

    assert ids(PHI3_IDS, render("phi3", [SYSTEM, QUESTION])) == [
        *(system, newline, *letters("Be kind."), end, newline),
        *(user, newline, *letters("Hello?"), end, newline),
        *(assistant, newline),
    ]
    assert ids(PHI3_IDS, render("phi3_old", [SYSTEM, QUESTION])) == [
        *(user, newline, *letters("Be kind."), newline, *letters("Hello?"), end, newline),
        *(assistant, newline),
    ]


def test_a_tokenizer_with_phi4s_own_ids_reads_the_tags_and_the_letters() -> None:
    start, sep, end = 100264, 100266, 100265

    assert ids(PHI4_IDS, render("phi4", [SYSTEM, QUESTION])) == [
        *(start, *letters("system"), sep, *letters("Be kind."), end),
        *(start, *letters("user"), sep, *letters("Hello?"), end),
        *(start, *letters("assistant"), sep),
    ]


@pytest.mark.parametrize("special", [PHI3_IDS, PHI4_IDS], ids=["phi3", "phi4"])
@settings(max_examples=100, deadline=None)
@given(text=hostile)
def test_no_text_of_a_person_becomes_a_special_id(special: Mapping[str, int], text: str) -> None:
    outside = ids(special, plain(text))

    unknown = special.get("<unk>", -1)  # a letter the small tokenizer does not have
    assert not {*outside} & ({*special.values()} - {unknown})


@cache
def tokenizer(special: tuple[tuple[str, int], ...]) -> Tokenizer:
    """One token a letter (numbered as Phi-3 numbers bytes) and the special tokens given."""
    vocabulary = {chr(code): code + 3 for code in range(128)} | dict(special)
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Split(Regex("[\\s\\S]"), "isolated")
    made.add_special_tokens([tag for tag, _ in special])
    return made


def ids(special: Mapping[str, int], text: str) -> list[int]:
    known = {"<unk>": 0, **special}
    found: list[int] = tokenizer(tuple(known.items())).encode(text, add_special_tokens=False).ids
    return found


def letters(text: str) -> list[int]:
    return [ord(letter) + 3 for letter in text]


def test_image_numbers_run_on_over_the_whole_prompt() -> None:
    first = PromptMessage("user", "Compare.", (PIXELS, PIXELS))
    third = PromptMessage("user", "And this?", (PIXELS,))

    prompt = render("phi3_vision", [first, PromptMessage("assistant", "Alike."), third])

    assert "<|user|>\n<|image_1|>\n<|image_2|>\nCompare.<|end|>" in prompt
    assert "<|user|>\n<|image_3|>\nAnd this?<|end|>" in prompt


def test_phi4_multimodal_has_no_newline_after_an_image() -> None:
    prompt = render("phi4_multimodal", [PromptMessage("user", "Compare.", (PIXELS, PIXELS))])

    assert prompt == "<|user|><|image_1|><|image_2|>Compare.<|end|><|assistant|>"


def test_a_family_without_a_system_role_loses_no_system_text() -> None:
    later = PromptMessage("system", "Be brief.")
    answer = PromptMessage("assistant", "Yes.")

    assert render("phi3_old", [SYSTEM, later, QUESTION, answer, later]) == (
        "<|user|>\nBe kind.\nBe brief.\nHello?<|end|>\n<|assistant|>\nYes.<|end|>\n"
        "<|user|>\nBe brief.<|end|>\n<|assistant|>\n"
    )
    assert render("phi3_old", [SYSTEM, answer]) == (
        "<|user|>\nBe kind.<|end|>\n<|assistant|>\nYes.<|end|>\n<|assistant|>\n"
    )


def test_messages_of_one_role_in_a_row_stay_apart() -> None:
    prompt = render("phi4_mini", [QUESTION, QUESTION])

    assert prompt == "<|user|>Hello?<|end|><|user|>Hello?<|end|><|assistant|>"


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
@given(st.one_of(hostile, st.text()))
def test_breaking_tags_only_adds_blanks_after_brackets(text: str) -> None:
    shown = plain(text)

    assert re.sub("(</?) ", r"\1", shown) == re.sub("(</?) ", r"\1", text)
    assert plain(shown) == shown
    if not re.search(r"<\||</?\w+>", text):
        assert shown == text


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
    harmless = render(family, [PromptMessage(each.role, each.text and "x") for each in messages])

    tags = re.compile(r"<\|[^<>|\s]{1,64}\|>")

    assert tags.findall(render(family, messages)) == tags.findall(harmless)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(FAMILIES), hostile, hostile, hostile)
def test_the_prompt_of_a_turn_begins_the_prompt_of_the_next(
    family: TemplateFamily, question: str, answer: str, follow_up: str
) -> None:
    turn = [SYSTEM, PromptMessage("user", question)]
    following = [*turn, PromptMessage("assistant", answer), PromptMessage("user", follow_up)]

    assert render(family, following).startswith(render(family, turn) + plain(answer))
