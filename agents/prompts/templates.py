"""Renders a prompt as each model family was trained to read it.

The project renders prompts itself: hub templates differ from revision to revision, and some
break schema-constrained decoding in the servers that apply them.

A message always has a header of its own, also where a hub's template writes the assistant's
header right after a question; for questions and answers in turn the text is the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from agents.ports import PromptMessage

TemplateFamily = Literal[
    "phi3_old",
    "phi3_small",
    "phi3",
    "phi3_moe",
    "phi3_vision",
    "phi4",
    "phi4_mini",
    "phi4_multimodal",
    "chatml",
]

# One blank inside the tag: every tokenizer then reads letters, and so does a person.
_PIPE_TAG = re.compile(r"<(?=\|[^<>|\s]{1,64}\|>)")
_NAMED_TAG = re.compile(
    r"<(/?)(?=(?:s|unk|pad|bos|eos|think|tool_call|tool_response|repo_?name|file_sep|filename"
    r"|gh_stars|issue_(?:start|comment|closed)|jupyter_(?:start|text|code|output|script)"
    r"|empty_output|ov_genai_(?:image|video|audio)_\d+)>)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Family:
    """The text around messages, and what is special about a family."""

    before_role: str = "<|"
    after_role: str = "|>\n"
    end: str = "<|end|>\n"
    begin: str = ""
    after_image: str | None = None  # after `<|image_N|>`; None: the family takes no images
    has_system: bool = True  # else system text goes into the user message that follows
    keeps_empty_system: bool = True
    stop: tuple[str, ...] = ("<|end|>", "<|endoftext|>", "<|assistant|>", "<|user|>")


# The published chat templates are in tests/agents/published_templates.py, with their sources.
_PHI3 = _Family(keeps_empty_system=False)
_FAMILIES: dict[TemplateFamily, _Family] = {
    # Phi-3-medium; Phi-3-mini before June 2024, whose template also begins with `<s>`: the
    # engines that want it put it there themselves.
    "phi3_old": _Family(has_system=False),
    # Its vocabulary is not that of the other Phi-3 and has no `<s>`; this is its first token.
    "phi3_small": _Family(begin="<|endoftext|>"),
    "phi3": _PHI3,
    # Same tags, ids and end tokens as Phi-3.5-mini; its own template was not to be seen.
    "phi3_moe": _PHI3,
    "phi3_vision": _Family(after_image="\n"),
    "phi4": _Family(
        before_role="<|im_start|>",
        after_role="<|im_sep|>",
        end="<|im_end|>",
        stop=("<|im_end|>", "<|endoftext|>", "<|im_start|>"),
    ),
    "phi4_mini": _Family(after_role="|>", end="<|end|>"),
    # The template of Phi-4-mini; no newline after an image, unlike Phi-3-vision.
    "phi4_multimodal": _Family(after_role="|>", end="<|end|>", after_image=""),
    "chatml": _Family(
        before_role="<|im_start|>",
        after_role="\n",
        end="<|im_end|>\n",
        stop=("<|im_end|>", "<|endoftext|>", "<|im_start|>"),
    ),
}


def render(family: TemplateFamily, messages: Sequence[PromptMessage]) -> str:
    """The whole prompt, ending where the model's answer begins.

    The prompt of one turn is a prefix of the prompt of the next, so engines can reuse what
    they computed. Raises `ValueError` for images in a family that has no image tags.
    """
    tags = _FAMILIES[family]
    parts, images = [tags.begin], 0
    for message in messages if tags.has_system else _folded(messages):
        if message.images and tags.after_image is None:
            raise ValueError(f"template family {family!r} has no image tags")
        if message.role == "system" and not message.text and not tags.keeps_empty_system:
            continue
        parts += tags.before_role, message.role, tags.after_role
        for _ in message.images:
            images += 1  # they are numbered over the whole prompt
            parts.append(f"<|image_{images}|>{tags.after_image}")
        parts += plain(message.text), tags.end
    parts += tags.before_role, "assistant", tags.after_role
    return "".join(parts)


def plain(text: str) -> str:
    """The text with the control tags of every family broken, so none of them acts."""
    if "<" not in text:
        return text
    return _NAMED_TAG.sub(r"<\1 ", _PIPE_TAG.sub("< ", text))


def stop_tags(family: TemplateFamily) -> tuple[str, ...]:
    """The tags at which a model of the family must stop."""
    return _FAMILIES[family].stop


def _folded(messages: Sequence[PromptMessage]) -> Iterator[PromptMessage]:
    """System text at the head of the user message after it, or as one of its own."""
    waiting = ""
    for message in messages:
        if message.role == "system":
            waiting += f"{message.text}\n" if message.text else ""
        elif message.role == "user":
            yield PromptMessage("user", waiting + message.text, message.images)
            waiting = ""
        else:
            if waiting:
                yield PromptMessage("user", waiting[:-1])
            yield message
            waiting = ""
    if waiting:
        yield PromptMessage("user", waiting[:-1])
