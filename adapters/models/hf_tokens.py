"""A `tokenizer.json`: exact counts, ids, and text that streams token by token."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from adapters.models.constraint import grammar_tokenizer
from adapters.models.engine import EngineUnavailable, imported

if TYPE_CHECKING:
    from llguidance import LLTokenizer
    from tokenizers import Tokenizer

_UNFINISHED = "�"  # what half a character decodes to
_LONGEST_CHARACTER = 4  # bytes, and so tokens


class TokenizerFile:
    """Raises `EngineUnavailable` without the package or the file, and a bare `Exception` at a
    damaged one."""

    def __init__(self, folder: Path, *, stops: Sequence[str]) -> None:
        file = folder / "tokenizer.json"
        if not file.is_file():
            raise EngineUnavailable(f"model folder {folder.name!r} has no tokenizer.json")
        library = imported("tokenizers", extra="tokens")
        self._tokenizer: Tokenizer = library.Tokenizer.from_file(str(file))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        ids = (self._tokenizer.token_to_id(stop) for stop in (*stops, "</s>"))
        self.stop_ids = tuple(dict.fromkeys(found for found in ids if found is not None))

    def encode(self, text: str) -> list[int]:
        """Token ids; control tags become the tokens they are."""
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def count(self, text: str) -> int:
        return len(self.encode(text)) if text else 0

    def decode(self, ids: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(ids, skip_special_tokens=True)
        return text

    def streamed(self) -> TextStream:
        return TextStream(self)

    def for_grammar(self, vocab_size: int) -> LLTokenizer:
        return grammar_tokenizer(self._tokenizer.to_str(), vocab_size, list(self.stop_ids))


class TextStream:
    """Text of a growing list of ids, whole characters only."""

    def __init__(self, tokens: TokenizerFile) -> None:
        self._tokens = tokens
        self._ids: list[int] = []
        self._shown = 0  # ids whose text was given out
        self._context = 0  # ids decoded again, since a token's text depends on its neighbour

    def feed(self, token: int) -> str:
        self._ids.append(token)
        before = self._tokens.decode(self._ids[self._context : self._shown])
        now = self._tokens.decode(self._ids[self._context :])
        unfinished = now.endswith(_UNFINISHED)
        if unfinished and len(self._ids) - self._shown < _LONGEST_CHARACTER:
            return ""
        self._context, self._shown = self._shown, len(self._ids)
        return now[len(before) :]

    def rest(self) -> str:
        """What an end in the middle of a character leaves."""
        before = self._tokens.decode(self._ids[self._context : self._shown])
        return self._tokens.decode(self._ids[self._context :])[len(before) :]
