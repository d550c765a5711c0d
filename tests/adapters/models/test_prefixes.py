"""Which kept prompt state serves a new prompt."""

from __future__ import annotations

from typing import Self

import hypothesis.strategies as st
from hypothesis import given

from adapters.models.prefixes import KeptPrefixes, common


class Tape:
    """A state that is the tokens themselves."""

    def __init__(self, tokens: list[int], *, copies: bool = True) -> None:
        self.tokens, self.copies, self.closed = tokens, copies, False

    def truncate(self, length: int) -> None:
        self.tokens = self.tokens[:length]

    def copy(self, length: int) -> Self | None:
        return type(self)(self.tokens[:length]) if self.copies else None

    def close(self) -> None:
        self.closed = True


TOKENS = st.lists(st.integers(0, 2), max_size=12)


@given(st.lists(TOKENS, max_size=6), TOKENS.filter(bool), st.booleans())
def test_a_taken_state_knows_exactly_the_beginning_it_claims(
    earlier: list[list[int]], prompt: list[int], copies: bool
) -> None:
    kept: KeptPrefixes[Tape] = KeptPrefixes(max_tokens=40)
    for tokens in earlier:
        kept.keep(tokens, Tape(list(tokens), copies=copies))

    state, length = kept.take(prompt)

    assert length < len(prompt), "one token must be left to be read"
    assert (state.tokens if state else []) == prompt[:length]


@given(st.lists(TOKENS, max_size=12))
def test_what_is_kept_never_passes_the_limit_and_what_is_dropped_is_closed(
    prompts: list[list[int]],
) -> None:
    kept: KeptPrefixes[Tape] = KeptPrefixes(max_tokens=20, max_states=3)
    states = [Tape(list(tokens)) for tokens in prompts]

    for state in states:
        kept.keep(state.tokens, state)

    assert kept.tokens <= 20
    assert sum(not state.closed for state in states) <= 3
    kept.close()
    assert all(state.closed for state in states)


def test_another_conversation_keeps_what_it_knows_when_the_beginning_is_shared() -> None:
    kept: KeptPrefixes[Tape] = KeptPrefixes(max_tokens=1000)
    kept.keep(list(range(300)), Tape(list(range(300))))

    state, length = kept.take([*range(100), 999])

    assert (length, state.tokens if state else None) == (100, list(range(100)))
    assert kept.tokens == 300


def test_a_state_that_cannot_be_copied_is_not_taken_for_little() -> None:
    kept: KeptPrefixes[Tape] = KeptPrefixes(max_tokens=1000)
    kept.keep(list(range(300)), Tape(list(range(300)), copies=False))

    assert kept.take([0, 1, 999]) == (None, 0)
    assert kept.take([*range(280), 999])[1] == 280


@given(TOKENS, TOKENS)
def test_the_common_beginning_is_as_long_as_it_is(one: list[int], other: list[int]) -> None:
    length = common(one, other)

    assert one[:length] == other[:length]
    assert length == min(len(one), len(other)) or one[length] != other[length]
