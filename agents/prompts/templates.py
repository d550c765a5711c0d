"""Renders a prompt as each model family was trained to read it.

The project renders prompts itself: hub templates differ from revision to revision, and some
break schema-constrained decoding in the servers that apply them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from agents.ports import PromptMessage

TemplateFamily = Literal["phi3", "phi3_vision", "chatml"]

# One blank inside the tag: every tokenizer then reads letters, and so does a person.
_PIPE_TAG = re.compile(r"<(?=\|[^<>|\s]{1,64}\|>)")
_NAMED_TAG = re.compile(
    r"<(/?)(?=(?:s|unk|pad|bos|eos|think|tool_call|tool_response|repo_?name|file_sep|filename"
    r"|gh_stars|issue_(?:start|comment|closed)|jupyter_(?:start|text|code|output|script)"
    r"|empty_output|ov_genai_(?:image|video|audio)_\d+)>)"
)


@dataclass(frozen=True, slots=True)
class _Tags:
    before_role: str
    after_role: str
    end: str
    stop: tuple[str, ...]


_PHI3 = _Tags("<|", "|>\n", "<|end|>\n", ("<|end|>", "<|endoftext|>", "<|assistant|>", "<|user|>"))
_FAMILIES: dict[TemplateFamily, _Tags] = {
    "phi3": _PHI3,
    "phi3_vision": _PHI3,
    "chatml": _Tags(
        "<|im_start|>", "\n", "<|im_end|>\n", ("<|im_end|>", "<|endoftext|>", "<|im_start|>")
    ),
}


def render(family: TemplateFamily, messages: Sequence[PromptMessage]) -> str:
    """The whole prompt, ending where the model's answer begins.

    The prompt of one turn is a prefix of the prompt of the next, so engines can reuse what
    they computed. Raises `ValueError` for images in a family that has no image tags.
    """
    tags = _FAMILIES[family]
    parts: list[str] = []
    images = 0
    for message in messages:
        if message.images and family != "phi3_vision":
            raise ValueError(f"template family {family!r} has no image tags")
        numbers = range(images + 1, images + 1 + len(message.images))
        images += len(message.images)
        body = "".join(f"<|image_{number}|>\n" for number in numbers) + plain(message.text)
        parts.append(f"{tags.before_role}{message.role}{tags.after_role}{body}{tags.end}")
    parts.append(f"{tags.before_role}assistant{tags.after_role}")
    return "".join(parts)


def plain(text: str) -> str:
    """The text with the control tags of every family broken, so none of them acts."""
    return _NAMED_TAG.sub(r"<\1 ", _PIPE_TAG.sub("< ", text))


def stop_tags(family: TemplateFamily) -> tuple[str, ...]:
    """The tags at which a model of the family must stop."""
    return _FAMILIES[family].stop
