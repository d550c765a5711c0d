"""A causal model on torch: a key-value cache for each conversation, one pass for all of them.

Nothing of a model's folder is run: remote code breaks under transformers 5 (facts: phi.md 1.3)
and would be a stranger's program in the bot.
"""

from __future__ import annotations

import gc
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from adapters.models.constraint import Logits
from adapters.models.engine import (
    Emit,
    EngineOptions,
    EngineUnavailable,
    Job,
    cores,
    imported,
)
from adapters.models.hf_tokens import TokenizerFile
from adapters.models.prefixes import KeptPrefixes
from adapters.models.token_loop import Speech, TokenGeneration
from adapters.models.transformers_rope import LongRope
from adapters.models.transformers_rows import ATTENTION, MODEL_TYPES, Pass, RowState, register

_SLOTS = 8
_VISION = "phi3_v"
_NOT_HERE = {
    "phi3small": "its code needs CUDA kernels and can't run here; use phi-3.5-mini instead",
}


class TorchState:
    """One conversation's keys and values, in the library's own cache: for any architecture."""

    def __init__(self, cache: Any, *, long: bool = False) -> None:
        self.cache: Any = cache
        self.long = long

    @property
    def length(self) -> int:
        return int(self.cache.get_seq_length())

    def truncate(self, length: int) -> None:
        for layer in self.cache.layers:  # its `crop` changed its meaning from 4 to 5
            layer.keys, layer.values = layer.keys[..., :length, :], layer.values[..., :length, :]

    def copy(self, length: int) -> Self:
        fresh = type(self.cache)()
        for number, layer in enumerate(self.cache.layers):
            keys, values = layer.keys[..., :length, :], layer.values[..., :length, :]
            fresh.update(keys.clone(), values.clone(), number)
        return type(self)(fresh, long=self.long)

    def close(self) -> None:
        self.cache = None


class _Generation(TokenGeneration[Any]):
    engine: TransformersEngine
    pictures: Any = None  # what the negative ids of its prompt stand for

    def close(self, *, failed: bool = False) -> None:
        super().close(failed=failed)
        self.pictures = None
        self.engine.make_room(self.state.long)


class TransformersEngine:
    """An `Engine`; raises `EngineUnavailable` when it can't be made."""

    def __init__(
        self, path: Path, *, options: EngineOptions, context_tokens: int, stops: Sequence[str]
    ) -> None:
        self._torch = imported("torch", extra="transformers")
        self._library = imported("transformers", extra="transformers")
        if options.threads or not self._torch.cuda.is_available():
            self._torch.set_num_threads(options.threads or cores())
        config = _config_of(path)
        self.takes_images = config.get("model_type") == _VISION
        self._tokens = TokenizerFile(path, stops=stops)
        self._device = options.device or self._best_device()
        self._eyes: Any = None
        self._together = config.get("model_type") in MODEL_TYPES
        if self._together:
            register()
        self._model = self._load(path, config)
        size = int(config["vocab_size"])
        self._speech = Speech(self._tokens, vocab_size=size, seed=options.seed)
        self._window: int | None = getattr(self._model.config, "sliding_window", None)
        self._rope = LongRope(self._torch, self._model, config)
        self.slots = options.slots or _SLOTS
        self._max_kept = kept = options.kept(context_tokens)
        self._kept: dict[bool, KeptPrefixes[Any]] = {
            long: KeptPrefixes(max_tokens=kept) for long in (False, True)
        }

    def _best_device(self) -> str:
        if self._torch.cuda.is_available():
            return "cuda"
        return "mps" if self._torch.backends.mps.is_available() else "cpu"

    def _load(self, path: Path, config: dict[str, Any]) -> Any:
        if self.takes_images:
            from adapters.models.transformers_vision import load_vision

            model, self._eyes = load_vision(path, config, device=self._device)
            return model
        attention = {"attn_implementation": ATTENTION} if self._together else {}
        model, found = self._library.AutoModelForCausalLM.from_pretrained(
            path,
            dtype=self._dtype(config),
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
            **attention,
        )
        if missing := sorted(found["missing_keys"]):  # the library would make them up
            raise EngineUnavailable(f"can't load {path.name!r}: it has no weights {missing[0]!r}")
        return model.eval().to(self._device)

    def _dtype(self, config: dict[str, Any]) -> Any:
        """The folder's own, but half precision is slow or missing on a CPU."""
        half = config.get("torch_dtype", config.get("dtype")) == "float16"
        return self._torch.float32 if half and self._device == "cpu" else "auto"

    def count(self, text: str) -> int:
        return self._tokens.count(text)

    def start(self, job: Job, emit: Emit) -> _Generation:
        pictures = self._eyes.pictures(job.images) if job.images else None
        prompt = (
            pictures.prompt(job.prompt, self._tokens.encode)
            if pictures is not None
            else self._tokens.encode(job.prompt)
        )
        long = self._rope.needed(len(prompt) + job.max_tokens)
        generation = _Generation(
            job,
            emit,
            self._speech,
            kept=self._kept[long],
            new_state=lambda: self._new_state(long),
            prompt=prompt,
        )
        generation.engine, generation.pictures = self, pictures
        return generation

    def _new_state(self, long: bool) -> Any:
        if self._together:
            return RowState(long=long)
        return TorchState(self._library.DynamicCache(), long=long)

    def make_room(self, long: bool) -> None:
        """Free what is kept of the other kind until both are within the limit."""
        while sum(each.tokens for each in self._kept.values()) > self._max_kept:
            self._kept[not long].drop_oldest()

    def advance(self, running: Sequence[_Generation]) -> list[bool]:
        ended: dict[int, bool] = {}
        with self._torch.inference_mode():
            for batch in self._batches(running):
                self._rope.long = batch[0].state.long
                rows = self._read(batch)
                for each, row in zip(batch, rows, strict=True):
                    ended[id(each)] = each.take(row)
        return [ended[id(each)] for each in running]

    def _batches(self, running: Sequence[_Generation]) -> list[list[_Generation]]:
        """What one pass can read: conversations with the same factors."""
        if not self._together:
            return [[each] for each in running]
        kinds = ([each for each in running if each.state.long is long] for long in (False, True))
        return [kind for kind in kinds if kind]

    def _read(self, batch: Sequence[_Generation]) -> list[Logits | None]:
        """The logits after each one's pending tokens, where they are wanted."""
        torch, states = self._torch, [each.state for each in batch]
        pieces = [each.pending() for each in batch]
        positions = [
            place
            for state, ids in zip(states, pieces, strict=True)
            for place in range(state.length, state.length + len(ids))
        ]
        sizes = list(zip(states, map(len, pieces), strict=True))
        cache = Pass(torch, sizes, self._window) if self._together else states[0].cache
        ends = [end - 1 for end in itertools.accumulate(map(len, pieces))]
        out = self._model(
            inputs_embeds=self._embedded(batch, pieces),
            position_ids=torch.tensor([positions], device=self._device),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=torch.tensor(ends, device=self._device),
        )
        if self._together:
            for state, count in sizes:
                state.length += count
        rows = out.logits[0].float().cpu().numpy()
        return [row if each.wants_logits else None for each, row in zip(batch, rows, strict=True)]

    def _embedded(self, batch: Sequence[_Generation], pieces: Sequence[list[int]]) -> Any:
        known = [max(one, 0) for ids in pieces for one in ids]
        tokens = self._torch.tensor([known], device=self._device)
        embedded = self._model.get_input_embeddings()(tokens)
        start = 0
        for each, ids in zip(batch, pieces, strict=True):
            if each.pictures is not None:
                each.pictures.put_into(embedded[:, start : start + len(ids)], ids)
                if each.wants_logits:  # the prompt ends here
                    each.pictures = None
            start += len(ids)
        return embedded

    def close(self) -> None:
        """Give the model's memory back."""
        for kept in self._kept.values():
            kept.close()
        del self._model, self._eyes, self._rope
        gc.collect()
        if self._device == "cuda":
            self._torch.cuda.empty_cache()


def _config_of(path: Path) -> dict[str, Any]:
    try:
        config: dict[str, Any] = json.loads((path / "config.json").read_bytes())
    except (OSError, ValueError) as error:
        detail = f"{path.name!r} is no model folder: it has no readable config.json"
        raise EngineUnavailable(detail) from error
    if reason := _NOT_HERE.get(config.get("model_type", "")):
        raise EngineUnavailable(f"{path.name!r}: {reason}")
    return config
