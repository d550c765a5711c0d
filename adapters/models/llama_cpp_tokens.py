"""The vocabulary inside a GGUF file: exact counts, ids, and text that streams."""

from __future__ import annotations

import codecs
import ctypes
import importlib
import warnings
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from adapters.models.engine import EngineUnavailable, imported

if TYPE_CHECKING:
    from llguidance import LLTokenizer

_PIECE_BYTES = 256
_KEPT: list[Any] = []  # C calls it for ever
_REMEDY = 'CMAKE_ARGS="-DGGML_NATIVE=OFF" pip install --no-cache-dir "firstline[llamacpp]"'


@cache
def import_llama() -> Any:
    """The package's C functions, silent; raises `EngineUnavailable`."""
    try:
        llama: Any = importlib.import_module("llama_cpp.llama_cpp")
    except (ImportError, OSError, RuntimeError) as error:
        raise EngineUnavailable(f"the engine is not installed; run: {_REMEDY}") from error
    _KEPT.append(llama.llama_log_callback(lambda level, text, data: None))
    llama.llama_log_set(_KEPT[-1], ctypes.c_void_p(0))
    llama.llama_backend_init()
    return llama


class GgufTokens:
    def __init__(self, llama: Any, model: Any, *, stops: Sequence[str]) -> None:
        self._llama = llama
        self._vocab = llama.llama_model_get_vocab(model)
        self.size = int(llama.llama_vocab_n_tokens(self._vocab))
        ends = {one for one in range(self.size) if llama.llama_vocab_is_eog(self._vocab, one)}
        tags = (ids[0] for ids in map(self.encode, stops) if len(ids) == 1)
        self.stop_ids = tuple(sorted(ends | set(tags)))
        # Words begin with a blank, the first one too.
        self.has_leading_blank: bool = (
            llama.llama_vocab_type(self._vocab) == llama.LLAMA_VOCAB_TYPE_SPM
        )

    def encode(self, text: str) -> list[int]:
        """Token ids; control tags become the tokens they are."""
        data = text.encode()
        room = len(data) + 8
        ids = (self._llama.llama_token * room)()
        count = self._llama.llama_tokenize(self._vocab, data, len(data), ids, room, False, True)
        if count < 0:
            raise RuntimeError(f"the text could not be tokenized (code {count})")
        return list(ids[:count])

    def piece(self, token: int) -> bytes:
        """A token's bytes; none for a control token."""
        buffer = ctypes.create_string_buffer(_PIECE_BYTES)
        size = self._llama.llama_token_to_piece(self._vocab, token, buffer, _PIECE_BYTES, 0, False)
        return buffer.raw[: max(size, 0)]

    def streamed(self) -> GgufText:
        return GgufText(self)

    def for_grammar(self, vocab_size: int) -> LLTokenizer:
        library = imported("llguidance.llamacpp", extra="tokens")
        with warnings.catch_warnings():  # llguidance 1.9 asks by a name that is going away
            warnings.simplefilter("ignore", DeprecationWarning)
            table: LLTokenizer = library.lltokenizer_from_vocab(
                self._vocab, n_vocab=vocab_size, eos_token=list(self.stop_ids)
            )
        return table


class GgufText:
    """Whole characters of a growing answer."""

    def __init__(self, tokens: GgufTokens) -> None:
        self._tokens = tokens
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._at_start = tokens.has_leading_blank

    def feed(self, token: int) -> str:
        text = self._decoder.decode(self._tokens.piece(token))
        if self._at_start and text:
            self._at_start = False
            return text.removeprefix(" ")
        return text

    def rest(self) -> str:
        """What an end in the middle of a character leaves."""
        return self._decoder.decode(b"", final=True)
