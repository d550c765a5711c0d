"""JSON schemas as token masks, by llguidance: for engines that show us their logits.

llguidance honours every bound of our schema subset (facts: phi.md 3.2); its numpy way is used
because its torch way compiles for 20 s at the first call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy
from numpy.typing import NDArray

from adapters.models.engine import imported
from tools.contract import JsonSchema

if TYPE_CHECKING:
    from llguidance import LLTokenizer

Logits = NDArray[numpy.float32]
_COMPACT = {"whitespace_flexible": False}  # else a model may pad until its tokens run out


class Constraint:
    """Where a generation stands in its schema. Raises `RuntimeError` for one not covered."""

    def __init__(self, tokenizer: LLTokenizer, schema: JsonSchema) -> None:
        from llguidance import LLMatcher

        compact: Any = _COMPACT
        grammar = LLMatcher.grammar_from_json_schema(dict(schema), overrides=compact)
        self._matcher = LLMatcher(tokenizer, grammar, log_level=0)
        self._check()
        self._bits = numpy.zeros((tokenizer.vocab_size + 31) // 32, dtype=numpy.int32)

    @property
    def ended(self) -> bool:
        """The value is whole: no token but an end may follow."""
        return bool(self._matcher.is_stopped())

    def apply(self, logits: Logits) -> None:
        """Set the logits (one row, in place) of what may not follow to minus infinity."""
        bits = self._bits
        self._matcher.unsafe_compute_mask_ptr(bits.ctypes.data, bits.nbytes)
        self._check()
        allowed = numpy.unpackbits(bits.view(numpy.uint8), bitorder="little")[: logits.size]
        logits[: allowed.size][allowed == 0] = -numpy.inf
        logits[allowed.size :] = -numpy.inf  # rows that pad a vocabulary

    def accept(self, token: int) -> None:
        self._matcher.consume_token(token)
        self._check()

    def _check(self) -> None:
        if self._matcher.is_error():
            reason = self._matcher.get_error().splitlines()[0][:200]
            raise RuntimeError(f"the schema can't be followed: {reason}")


def grammar_tokenizer(tokenizer_json: str, vocab_size: int, ends: list[int]) -> LLTokenizer:
    """Compiled once per model (0.2 to 0.4 s); raises `EngineUnavailable`."""
    library = imported("llguidance", extra="tokens")
    table: LLTokenizer = library.LLTokenizer(tokenizer_json, n_vocab=vocab_size, eos_token=ends)
    return table
