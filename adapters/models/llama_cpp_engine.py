"""llama.cpp's own calls: one context, a sequence for each conversation, shared decode calls.

The package's high-level class knows one conversation at a time, so it is not used.
"""

from __future__ import annotations

import gc
import heapq
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy

from adapters.models.constraint import Logits
from adapters.models.engine import Emit, EngineOptions, EngineUnavailable, Job, cores
from adapters.models.llama_cpp_tokens import GgufTokens, import_llama
from adapters.models.prefixes import KeptPrefixes
from adapters.models.token_loop import PROMPT_CHUNK, Speech, TokenGeneration

_SLOTS = 4
_ON_GPU = ("gpu", "cuda", "metal", "vulkan")
_EVERY_LAYER = 999


class LlamaState:
    """One conversation's sequence of the shared cache."""

    def __init__(self, owner: LlamaEngine, sequence: int) -> None:
        self._owner, self.sequence = owner, sequence
        self.length = 0  # tokens read

    def truncate(self, length: int) -> None:
        self._owner.forget(self.sequence, length)
        self.length = length

    def copy(self, length: int) -> Self | None:
        """None while every other sequence is in use."""
        sequence = self._owner.free_sequence()
        if sequence is None:
            return None
        self._owner.duplicate(self.sequence, sequence)
        copied = type(self)(self._owner, sequence)
        copied.truncate(length)
        return copied

    def close(self) -> None:
        self._owner.give_back(self.sequence)


class LlamaEngine:
    """An `Engine`; raises `EngineUnavailable` when it can't be made."""

    takes_images = False

    def __init__(
        self, path: Path, *, options: EngineOptions, context_tokens: int, stops: Sequence[str]
    ) -> None:
        self._llama = import_llama()
        file = _gguf_of(path)
        self.slots = options.slots or _SLOTS
        self._model = self._load(file, options)
        self._tokens = GgufTokens(self._llama, self._model, stops=stops)
        self._context = self._make_context(options, context_tokens)
        if not self._context:
            self._llama.llama_model_free(self._model)
            tokens = self.slots * context_tokens
            detail = f"no memory for {self.slots} slots of {context_tokens} tokens ({tokens})"
            raise EngineUnavailable(f"{detail}; lower context_tokens or max_concurrent")
        self._memory = self._llama.llama_get_memory(self._context)
        self._room = self.slots * PROMPT_CHUNK
        self._batch = self._llama.llama_batch_init(self._room, 0, 1)
        self._free = list(range(self.slots))
        size = self._tokens.size
        self._speech = Speech(self._tokens, vocab_size=size, seed=options.seed)
        kept = options.kept_tokens  # by default all that the slots have room for
        kept = self.slots * context_tokens if kept is None else kept
        self._kept: KeptPrefixes[LlamaState] = KeptPrefixes(max_tokens=kept)

    def _load(self, file: Path, options: EngineOptions) -> Any:
        params = self._llama.llama_model_default_params()
        params.n_gpu_layers = self._gpu_layers(options.device or "cpu")
        # Built with AMX it crashes at the first token on CPUs that announce AMX and lack it;
        # without, the same switch brings faster kernels.
        params.use_extra_bufts = b"AMX_INT8 = 1" not in self._llama.llama_print_system_info()
        model = self._llama.llama_model_load_from_file(str(file).encode(), params)
        if not model:
            detail = "not a GGUF file, damaged, or of an architecture that llama.cpp lacks"
            raise EngineUnavailable(f"can't load {file.name!r}: {detail}")
        return model

    def _gpu_layers(self, device: str) -> int:
        """Raises `EngineUnavailable` for a device that is unknown or that this build lacks."""
        if device == "cpu":
            return 0
        if device not in _ON_GPU:
            known = ", ".join(("cpu", *_ON_GPU))
            raise EngineUnavailable(f"device {device!r} is not known; the devices are: {known}")
        if not self._llama.llama_supports_gpu_offload():
            detail = f"device {device!r}: this llama-cpp-python was built without a GPU"
            raise EngineUnavailable(f"{detail}; build it for yours, or use the device cpu")
        return _EVERY_LAYER

    def _make_context(self, options: EngineOptions, context_tokens: int) -> Any:
        """Each sequence has memory of its own: with shared memory llama.cpp would take the
        long-context factors of LongRoPE for every prompt (facts: phi.md 1.5).
        """
        params = self._llama.llama_context_default_params()
        params.n_ctx = self.slots * context_tokens
        params.n_seq_max = self.slots
        params.n_batch = self.slots * PROMPT_CHUNK
        params.n_threads = params.n_threads_batch = options.threads or cores()
        params.kv_unified = False
        params.no_perf = True
        return self._llama.llama_init_from_model(self._model, params)

    def count(self, text: str) -> int:
        return len(self._tokens.encode(text)) if text else 0

    def free_sequence(self) -> int | None:
        return heapq.heappop(self._free) if self._free else None

    def give_back(self, sequence: int) -> None:
        self.forget(sequence, 0)
        heapq.heappush(self._free, sequence)

    def forget(self, sequence: int, length: int) -> None:
        self._llama.llama_memory_seq_rm(self._memory, sequence, length, -1)

    def duplicate(self, sequence: int, to: int) -> None:
        self._llama.llama_memory_seq_cp(self._memory, sequence, to, -1, -1)

    def start(self, job: Job, emit: Emit) -> TokenGeneration[LlamaState]:
        return TokenGeneration(job, emit, self._speech, kept=self._kept, new_state=self._new_state)

    def _new_state(self) -> LlamaState:
        while (sequence := self.free_sequence()) is None:
            if not self._kept.drop_oldest():
                raise RuntimeError("no sequence is free")
        return LlamaState(self, sequence)

    def advance(self, running: Sequence[TokenGeneration[LlamaState]]) -> list[bool]:
        batch, places = self._batch, dict[int, int]()
        batch.n_tokens = 0
        # llama.cpp reads sequences together only where their numbers rise one by one.
        for each in sorted(running, key=lambda each: each.state.sequence):
            self._add(each)
            places[each.state.sequence] = batch.n_tokens - 1
        code = self._llama.llama_decode(self._context, batch)
        if code != 0:
            reason = "its cache is full" if code == 1 else f"llama.cpp's code {code}"
            raise RuntimeError(f"the prompt could not be read: {reason}")
        rows = [
            self._logits(places[each.state.sequence]) if each.wants_logits else None
            for each in running
        ]
        for each in running:
            each.state.length += len(each.pending())
        return [each.take(row) for each, row in zip(running, rows, strict=True)]

    def _add(self, generation: TokenGeneration[LlamaState]) -> None:
        batch, state = self._batch, generation.state
        ids = generation.pending()
        for offset, token in enumerate(ids):
            at = batch.n_tokens
            batch.token[at] = token
            batch.pos[at] = state.length + offset
            batch.n_seq_id[at] = 1
            batch.seq_id[at][0] = state.sequence
            batch.logits[at] = generation.wants_logits and offset == len(ids) - 1
            batch.n_tokens = at + 1

    def _logits(self, place: int) -> Logits:
        row = self._llama.llama_get_logits_ith(self._context, place)
        return numpy.ctypeslib.as_array(row, shape=(self._tokens.size,)).copy()

    def close(self) -> None:
        """Give the model's memory back."""
        self._kept.close()
        self._llama.llama_batch_free(self._batch)
        self._llama.llama_free(self._context)
        self._llama.llama_model_free(self._model)
        gc.collect()


def _gguf_of(path: Path) -> Path:
    if path.is_dir():
        files = sorted(path.glob("*.gguf"))
        if len(files) != 1:
            detail = f"it holds {len(files)} GGUF files; set the route's path to one of them"
            raise EngineUnavailable(f"model folder {path.name!r}: {detail}")
        return files[0]
    if not path.is_file():
        raise EngineUnavailable(f"model file {path.name!r} does not exist")
    return path
