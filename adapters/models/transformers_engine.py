"""A causal model on torch: one key-value cache for each conversation, fed token by token.

Nothing of a model's folder is run: remote code breaks under transformers 5 (facts: phi.md 1.3)
and would be a stranger's program in the bot.
"""

from __future__ import annotations

import gc
import importlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy

from adapters.models.constraint import Constraint, Logits
from adapters.models.engine import (
    Emit,
    EngineOptions,
    EngineUnavailable,
    Job,
    cores,
    reason_of,
)
from adapters.models.hf_tokens import TextStream, TokenizerFile
from adapters.models.prefixes import KeptPrefixes
from adapters.models.token_loop import TokenGeneration

_SLOTS = 4
_CONTEXTS_KEPT = 4
_VISION = "phi3_v"
_NOT_HERE = {
    "phi3small": "its code needs CUDA kernels and can't run here; use phi-3.5-mini instead",
}


class TorchState:
    """One conversation's keys and values."""

    def __init__(self, cache: Any) -> None:
        self.cache: Any = cache

    def truncate(self, length: int) -> None:
        for layer in self.cache.layers:  # its `crop` changed its meaning from 4 to 5
            layer.keys, layer.values = layer.keys[..., :length, :], layer.values[..., :length, :]

    def copy(self, length: int) -> Self:
        fresh = type(self.cache)()
        for number, layer in enumerate(self.cache.layers):
            keys, values = layer.keys[..., :length, :], layer.values[..., :length, :]
            fresh.update(keys.clone(), values.clone(), number)
        return type(self)(fresh)

    def close(self) -> None:
        self.cache = None


class _Generation(TokenGeneration[TorchState]):
    pictures: Any = None  # what the negative ids of its prompt stand for


class TransformersEngine:
    """An `Engine`; raises `EngineUnavailable` when it can't be made."""

    def __init__(
        self, path: Path, *, options: EngineOptions, context_tokens: int, stops: Sequence[str]
    ) -> None:
        self._torch, self._library = _import("torch"), _import("transformers")
        if options.threads or not self._torch.cuda.is_available():
            self._torch.set_num_threads(options.threads or cores())
        config = _config_of(path)
        self.takes_images = config.get("model_type") == _VISION
        self._tokens = TokenizerFile(path, stops=stops)
        self._device = options.device or ("cuda" if self._torch.cuda.is_available() else "cpu")
        self._eyes: Any = None
        try:
            self._model = self._load(path, config)
        except (OSError, RuntimeError, ValueError, KeyError, ImportError) as error:
            raise EngineUnavailable(f"can't load {path.name!r}: {reason_of(error)}") from error
        self._vocabulary = int(config["vocab_size"])
        self._grammar: Any = None
        self._random = numpy.random.default_rng(options.seed)
        self.slots = options.slots or _SLOTS
        kept = options.kept_tokens
        kept = _CONTEXTS_KEPT * context_tokens if kept is None else kept
        self._kept: KeptPrefixes[TorchState] = KeptPrefixes(max_tokens=kept)

    def _load(self, path: Path, config: dict[str, Any]) -> Any:
        if self.takes_images:
            from adapters.models.transformers_vision import load_vision

            model, self._eyes = load_vision(path, config, device=self._device)
            return model
        model = self._library.AutoModelForCausalLM.from_pretrained(
            path, dtype=self._dtype(config), local_files_only=True, trust_remote_code=False
        )
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
        generation = _Generation(
            job,
            emit,
            prompt=prompt,
            text=TextStream(self._tokens),
            stop_ids=self._tokens.stop_ids,
            kept=self._kept,
            new_state=lambda: TorchState(self._library.DynamicCache()),
            constraint=self._constraint(job),
            random=self._random,
        )
        generation.pictures = pictures
        return generation

    def _constraint(self, job: Job) -> Constraint | None:
        if job.schema is None:
            return None
        if self._grammar is None:
            self._grammar = self._tokens.for_grammar(self._vocabulary)
        return Constraint(self._grammar, job.schema)

    def advance(self, running: Sequence[_Generation]) -> list[bool]:
        with self._torch.inference_mode():
            return [each.take(self._read(each)) for each in running]

    def _read(self, generation: _Generation) -> Logits:
        ids = generation.pending()
        known = [max(one, 0) for one in ids]
        tokens = self._torch.tensor([known], device=self._device)
        given: dict[str, Any] = {"input_ids": tokens}
        if any(one < 0 for one in ids):
            embedded = self._model.get_input_embeddings()(tokens)
            given = {"inputs_embeds": generation.pictures.put_into(embedded, ids)}
        out = self._model(
            **given, past_key_values=generation.state.cache, use_cache=True, logits_to_keep=1
        )
        logits: Logits = out.logits[0, -1].float().cpu().numpy()
        return logits

    def close(self) -> None:
        """Give the model's memory back."""
        self._kept.close()
        del self._model, self._eyes
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


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        remedy = "the engine is not installed; run: pip install 'firstline[transformers]'"
        raise EngineUnavailable(remedy) from error
