"""One generation, token by token, for engines that show us their logits."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import numpy

from adapters.models.constraint import Constraint, Logits
from adapters.models.engine import Emit, Job, Outcome
from adapters.models.prefixes import KeptPrefixes, State
from agents.ports import FinishReason
from tools.contract import JsonSchema

if TYPE_CHECKING:
    from llguidance import LLTokenizer

S = TypeVar("S", bound=State)
PROMPT_CHUNK = 256  # tokens read in one step, so that others and a cancel wait little


class StreamedText(Protocol):
    """Turns tokens into whole characters."""

    def feed(self, token: int) -> str: ...

    def rest(self) -> str: ...


class Vocabulary(Protocol):
    """A model's tokens."""

    stop_ids: tuple[int, ...]

    def encode(self, text: str) -> list[int]: ...

    def streamed(self) -> StreamedText:
        """For a new answer."""

    def for_grammar(self, vocab_size: int) -> LLTokenizer: ...


class Speech:
    """What all generations of one model share: its tokens, its grammars' table, chance."""

    def __init__(self, tokens: Vocabulary, *, vocab_size: int, seed: int | None) -> None:
        self.tokens, self._vocab_size = tokens, vocab_size
        self.random = numpy.random.default_rng(seed)
        self._table: LLTokenizer | None = None  # made when the first schema comes

    def constraint(self, schema: JsonSchema | None) -> Constraint | None:
        if schema is None:
            return None
        if self._table is None:
            self._table = self.tokens.for_grammar(self._vocab_size)
        return Constraint(self._table, schema)


class TokenGeneration(Generic[S]):
    """Say what to read with `pending`, read it into `state`, and hand the logits to `take`."""

    def __init__(
        self,
        job: Job,
        emit: Emit,
        speech: Speech,
        *,
        kept: KeptPrefixes[S],
        new_state: Callable[[], S],
        prompt: list[int] | None = None,
    ) -> None:
        """`prompt` is set where it holds more than the job's text."""
        prompt = speech.tokens.encode(job.prompt) if prompt is None else prompt
        self._job, self._emit, self._kept = job, emit, kept
        self._text, self._stop_ids = speech.tokens.streamed(), speech.tokens.stop_ids
        self._constraint, self._random = speech.constraint(job.schema), speech.random
        state, self._cached = kept.take(prompt)
        self.state = state if state is not None else new_state()
        self._prompt_tokens = len(prompt)
        self._known = prompt[: self._cached]  # read into the state
        self._unread = prompt[self._cached :]
        self._made = 0
        self._reason: FinishReason = "cancelled"

    def pending(self) -> list[int]:
        """The tokens to read next: a piece of the prompt, or the last token."""
        return self._unread[:PROMPT_CHUNK]

    def take(self, logits: Logits | None) -> bool:
        """What was pending was read; `logits` (vocabulary,) follow its last token.

        True once the generation has ended. They may be None where more prompt is to come,
        as `wants_logits` tells.
        """
        wanted = self.wants_logits
        read = self.pending()
        self._known += read
        self._unread = self._unread[len(read) :]
        if not wanted:
            self._emit("")
            return False
        if logits is None:
            raise RuntimeError("the engine gave no logits")
        return self._next(logits)

    @property
    def wants_logits(self) -> bool:
        return len(self._unread) <= PROMPT_CHUNK

    def _next(self, logits: Logits) -> bool:
        if self._constraint is not None:
            self._constraint.apply(logits)
        token = pick(logits, self._job.temperature, self._random)
        self._made += 1
        if token in self._stop_ids:
            return self._end("stop")
        self._emit(self._text.feed(token))
        if self._constraint is not None:
            self._constraint.accept(token)
            if self._constraint.ended:
                return self._end("stop")
        if self._made >= self._job.max_tokens:
            return self._end("length")
        self._unread = [token]
        return False

    def _end(self, reason: FinishReason) -> bool:
        self._emit(self._text.rest())
        self._reason = reason
        return True

    def outcome(self) -> Outcome:
        return Outcome(self._reason, self._prompt_tokens, self._made, self._cached)

    def close(self, *, failed: bool = False) -> None:
        if self._known and not failed:
            self._kept.keep(self._known, self.state)
        else:
            self.state.close()


def pick(logits: Logits, temperature: float, random: numpy.random.Generator) -> int:
    """The likeliest token, or one drawn at `temperature`."""
    if temperature <= 0:
        return int(numpy.argmax(logits))
    scaled = (logits - logits.max()) / temperature
    weights = numpy.exp(scaled, dtype=numpy.float64)
    return int(random.choice(weights.size, p=weights / weights.sum()))
