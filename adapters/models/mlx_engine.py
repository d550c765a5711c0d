"""The only file that imports mlx: a model, and one cache for each conversation.

Conversations that are writing share one forward pass, which reads the weights once for all.
MLX's CPU build gains little by it: eight conversations gave 1.1 to 2.0 times one's tokens/s.
"""

from __future__ import annotations

import gc
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy

from adapters.models.constraint import Logits
from adapters.models.engine import Emit, EngineOptions, EngineUnavailable, Job, imported
from adapters.models.hf_tokens import TokenizerFile
from adapters.models.prefixes import KeptPrefixes
from adapters.models.token_loop import Speech, TokenGeneration

_SLOTS = 8


class MlxState:
    """One conversation's keys and values, a cache for each layer."""

    def __init__(self, caches: list[Any]) -> None:
        self.caches = caches

    def truncate(self, length: int) -> None:
        for cache in self.caches:
            cache.trim(cache.offset - length)

    def copy(self, length: int) -> Self:
        """MLX arrays never change in place, so the copies share them until one is written."""
        copies = []
        for cache in self.caches:
            copy = type(cache).from_state(cache.state)
            copy.trim(copy.offset - length)
            copies.append(copy)
        return type(self)(copies)

    def close(self) -> None:
        self.caches = []


class _Generation(TokenGeneration[MlxState]):
    engine: MlxEngine

    def close(self, *, failed: bool = False) -> None:
        self.engine.leave(self)
        super().close(failed=failed)


class MlxEngine:
    """An `Engine`; raises `EngineUnavailable` when it can't be made."""

    takes_images = False

    def __init__(
        self, path: Path, *, options: EngineOptions, context_tokens: int, stops: Sequence[str]
    ) -> None:
        self._core = imported("mlx.core", extra="mlx")
        self._caches = imported("mlx_lm.models.cache", extra="mlx")
        if not path.is_dir():
            raise EngineUnavailable(f"model folder {path.name!r} does not exist")
        self._tokens = TokenizerFile(path, stops=stops)
        self._model, config = imported("mlx_lm.utils", extra="mlx").load_model(path)
        size = int(config["vocab_size"])
        self._speech = Speech(self._tokens, vocab_size=size, seed=options.seed)
        self.slots = options.slots or _SLOTS
        self._kept: KeptPrefixes[MlxState] = KeptPrefixes(max_tokens=options.kept(context_tokens))
        self._together: list[_Generation] = []  # whose caches are merged into `_merged`
        self._merged: list[Any] = []

    def count(self, text: str) -> int:
        return self._tokens.count(text)

    def start(self, job: Job, emit: Emit) -> _Generation:
        generation = _Generation(
            job, emit, self._speech, kept=self._kept, new_state=self._new_state
        )
        generation.engine = self
        return generation

    def _new_state(self) -> MlxState:
        return MlxState(self._caches.make_prompt_cache(self._model))

    def advance(self, running: Sequence[_Generation]) -> list[bool]:
        writing = [each for each in running if len(each.pending()) == 1]
        together = writing if len(writing) > 1 else []
        if together != self._together:
            self._merge(together)
        rows = self._read_together() if together else []
        ended = {id(each): each.take(row) for each, row in zip(together, rows, strict=True)}
        for each in running:
            if id(each) not in ended:
                ended[id(each)] = each.take(self._read(each))
        return [ended[id(each)] for each in running]

    def _read(self, generation: _Generation) -> Logits | None:
        core = self._core
        caches = generation.state.caches
        logits = self._model(core.array([generation.pending()]), cache=caches)
        if not generation.wants_logits:
            core.eval([cache.state for cache in caches])  # else the work piles up unseen
            return None
        row: Logits = self._rows(logits)[0]
        return row

    def _read_together(self) -> list[Logits]:
        tokens = self._core.array([each.pending() for each in self._together])
        return list(self._rows(self._model(tokens, cache=self._merged)))

    def _rows(self, logits: Any) -> Any:
        return numpy.array(logits[:, -1, :].astype(self._core.float32))

    def _merge(self, together: list[_Generation]) -> None:
        """Make one batch of these, after giving those of the last one their caches back."""
        for place, each in enumerate(self._together):
            each.state.caches = [cache.extract(place) for cache in self._merged]
        layers = zip(*(each.state.caches for each in together), strict=True)
        self._merged = [type(layer[0]).merge(layer) for layer in layers]
        self._together = list(together)

    def leave(self, generation: _Generation) -> None:
        if generation in self._together:
            self._merge([])

    def close(self) -> None:
        """Give the model's memory back."""
        self._kept.close()
        del self._model
        self._together, self._merged = [], []
        gc.collect()
        self._core.clear_cache()
