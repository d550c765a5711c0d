"""No text of ours is a picture to any of Mattermost's readers, whatever stands around it (I2)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.chat.mattermost_reply import safe
from bot.testing.mattermost.previews import fetched

U = "https://evil.example/x.png?q=secret"
BITS = ("![", "](", "](" + U + ")", "[", "]", "][", "]: ", "`", "``", "```", "~~~", "\n", "\n\n")
MORE_BITS = ("\\", "> ", "!", "a", " ", U, "<", ">", "(", ")", "    ", "- ", "n1")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"![pixel]({U})", f"[pixel]({U})"),
        (f"![a [b] c]({U})", f"！[a [b] c]({U})"),
        (f"![a\\]b]({U})", f"！[a\\]b]({U})"),
        (f"![two\nlines]({U})", f"！[two\nlines]({U})"),
        (f"![n1]\n\n[n1]: {U}", f"！[n1]\n\n[n1]: {U}"),
        (f"```\n![pixel]({U})", f"```\n[pixel]({U})"),  # a fence that is not closed is none
        (f"```md\n![pixel]({U})\n```", f"```md\n![pixel]({U})\n```"),
        ("write `#![feature(x)]` first", "write `#![feature(x)]` first"),
        ("Wow![1] indeed", "Wow![1] indeed"),
    ],
)
def test_what_could_be_a_picture_is_a_link_or_plain(text: str, shown: str) -> None:
    assert safe(text) == shown
    assert not fetched(shown, {"unsafe_links": "true"})


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(BITS + MORE_BITS), max_size=40))
def test_no_mixture_of_signs_loads_a_picture(bits: list[str]) -> None:
    text = "".join(bits)
    assert not fetched(safe(text), {"unsafe_links": "true"})
    assert len(safe(text)) <= len(text)
