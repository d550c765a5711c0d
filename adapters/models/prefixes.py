"""Prompt states kept between turns, so that a conversation's next prompt costs its new part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, Protocol, Self, TypeVar

_WORTH_KEEPING = 64  # tokens of another conversation; fewer are not worth a copy


class State(Protocol):
    """An engine's memory of the tokens it has read."""

    def truncate(self, length: int) -> None:
        """Forget all but the first `length` tokens."""

    def copy(self, length: int) -> Self | None:
        """The first `length` tokens in memory of their own; None where that can't be done."""

    def close(self) -> None:
        """Free it."""


S = TypeVar("S", bound=State)


class KeptPrefixes(Generic[S]):
    """The states of the latest prompts, at most `max_tokens` tokens and `max_states` of them."""

    def __init__(self, *, max_tokens: int, max_states: int = 64) -> None:
        self._max_tokens, self._max_states = max_tokens, max_states
        self._kept: list[tuple[tuple[int, ...], S]] = []  # oldest first

    @property
    def tokens(self) -> int:
        """Tokens whose state is in memory now."""
        return sum(len(ids) for ids, _ in self._kept)

    def take(self, prompt: Sequence[int]) -> tuple[S | None, int]:
        """The state that knows most of the prompt's beginning, and how many tokens of it.

        At least one token of the prompt is left to be read, since its logits are needed. A
        state that knows much else is copied, so that its own conversation keeps it.
        """
        best = max(self._kept, key=lambda kept: common(kept[0], prompt), default=None)
        if best is None:
            return None, 0
        ids, state = best
        length = min(common(ids, prompt), len(prompt) - 1)
        if length <= 0:
            return None, 0
        if len(ids) - length > _WORTH_KEEPING:
            if (own := state.copy(length)) is not None:
                return own, length
            if length < len(ids) - length:  # it would cost the other more than this one gains
                return None, 0
        self._kept.remove(best)
        state.truncate(length)
        return state, length

    def keep(self, tokens: Sequence[int], state: S) -> None:
        """Keep a state; the oldest are freed to make room."""
        self._kept.append((tuple(tokens), state))
        while self._kept and (self.tokens > self._max_tokens or len(self._kept) > self._max_states):
            _, oldest = self._kept.pop(0)
            oldest.close()

    def drop_oldest(self) -> bool:
        """Free one state, for an engine that ran out of room; False when there is none."""
        if not self._kept:
            return False
        self._kept.pop(0)[1].close()
        return True

    def close(self) -> None:
        while self.drop_oldest():
            pass


def common(one: Sequence[int], other: Sequence[int]) -> int:
    """Length of the common beginning."""
    low, high = 0, min(len(one), len(other))
    if list(one[:high]) == list(other[:high]):
        return high
    while high - low > 1:  # of two halves, comparing slices is quicker than items
        middle = (low + high) // 2
        if list(one[low:middle]) == list(other[low:middle]):
            low = middle
        else:
            high = middle
    return low
