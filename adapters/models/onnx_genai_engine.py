"""The only file that imports onnxruntime_genai: text by our own loop, images by the engine's.

Text keeps one generator for each conversation and feeds it token by token, so that a prompt's
known part is not read again even when a schema constrains the answer: the engine's own
guidance belongs to a generator's birth. Measured with 0.18.0 on two cores: the engine's
request scheduler gave 1.2 to 1.6 times the tokens/s at 4 to 8 conversations and can go back
only to the start of a turn, so conversations share the thread step by step instead.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import numpy

from adapters.models.constraint import Logits
from adapters.models.engine import Emit, EngineOptions, EngineUnavailable, Job, Outcome, imported
from adapters.models.hf_tokens import TokenizerFile
from adapters.models.prefixes import KeptPrefixes
from adapters.models.token_loop import Speech, TokenGeneration
from agents.ports import FinishReason

VISION_CONFIG = "processor_config.json"
_SLOTS = 4
# Ours to the engine's; None is its own CPU code.
_PROVIDERS = {"cpu": None, "cuda": "cuda", "dml": "dml", "qnn": "QNN", "openvino": "OpenVINO"}


class GenaiState:
    """One conversation's generator, with the keys and values of what it has read."""

    def __init__(self, generator: Any) -> None:
        self.generator: Any = generator

    def truncate(self, length: int) -> None:
        if length < self.generator.token_count():
            self.generator.rewind_to(length)

    def copy(self, length: int) -> Self | None:
        """The engine can't copy a generator."""
        return None

    def close(self) -> None:
        self.generator = None


class ImageGeneration:
    """One answer about pictures, by the engine's own loop and guidance."""

    def __init__(
        self,
        job: Job,
        emit: Emit,
        *,
        generator: Any,
        feed: Callable[[Any], int],
        stream: Any,
        stop_ids: tuple[int, ...],
    ) -> None:
        self._job, self._emit, self._generator = job, emit, generator
        self._feed, self._stream, self._stop_ids = feed, stream, stop_ids
        self._prompt_tokens = self._made = 0
        self._reason: FinishReason = "cancelled"

    def step(self) -> bool:
        """Read the pictures at first, then write a token; True at the end."""
        if not self._prompt_tokens:
            self._prompt_tokens = self._feed(self._generator)
            return not self._emit("")
        self._generator.generate_next_token()
        token = int(self._generator.get_next_tokens()[0])
        self._made += 1
        if token in self._stop_ids:
            self._reason = "stop"
            return True
        self._emit(self._stream.decode(token))
        if self._generator.is_done() or self._made >= self._job.max_tokens:
            self._reason = "length" if self._made >= self._job.max_tokens else "stop"
            return True
        return False

    def outcome(self) -> Outcome:
        return Outcome(self._reason, self._prompt_tokens, self._made)

    def close(self, *, failed: bool = False) -> None:
        self._generator = None


class GenaiEngine:
    """An `Engine`; raises `EngineUnavailable` when it can't be made."""

    def __init__(
        self, path: Path, *, options: EngineOptions, context_tokens: int, stops: Sequence[str]
    ) -> None:
        self._genai = imported("onnxruntime_genai", extra="onnx")
        if not (path / "genai_config.json").is_file():
            detail = f"{path.name!r} is no ONNX Runtime GenAI folder: it has no genai_config.json"
            raise EngineUnavailable(detail)
        config = json.loads((path / "genai_config.json").read_text(encoding="utf-8"))
        self._tokens = TokenizerFile(path, stops=stops)
        self._context_tokens = context_tokens
        windowed = "sliding_window" in config["model"]["decoder"]
        self._model = self._genai.Model(self._config(path, options, windowed=windowed))
        self.takes_images = (path / VISION_CONFIG).is_file()
        self._processor: Any = (
            self._model.create_multimodal_processor() if self.takes_images else None
        )
        size = int(config["model"]["vocab_size"])
        self._speech = Speech(self._tokens, vocab_size=size, seed=options.seed)
        # A generator's cache has room for the whole context, so conversations are counted.
        self.slots = options.slots or _SLOTS
        kept = options.kept(context_tokens)
        # A model with eyes can't go back in its cache (0.18.0), so it keeps nothing.
        states = 0 if self.takes_images else kept // context_tokens
        self._kept: KeptPrefixes[GenaiState] = KeptPrefixes(max_tokens=kept, max_states=states)

    def _config(self, path: Path, options: EngineOptions, *, windowed: bool) -> Any:
        """Raises `EngineUnavailable` for a device that this build or machine lacks."""
        device = (options.device or "cpu").lower()
        if device not in _PROVIDERS:
            known = ", ".join(_PROVIDERS)
            raise EngineUnavailable(f"device {device!r} is not known; the devices are: {known}")
        check = getattr(self._genai, f"is_{device}_available", None)
        if device != "cpu" and check is not None and not check():
            remedy = _DEVICE_REMEDIES.get(device, "use the device cpu")
            raise EngineUnavailable(f"device {device!r} is not available here; {remedy}")
        config = self._genai.Config(str(path))
        config.clear_providers()
        if provider := _PROVIDERS[device]:
            config.append_provider(provider)
        decoder: dict[str, Any] = {}
        if options.threads:
            decoder["session_options"] = {"intra_op_num_threads": options.threads}
        if windowed:
            # 0.18.0 sizes its cache by the window but slides nothing: the first prompt beyond
            # it fails. The model's own kernels keep the window whatever the cache holds.
            whole = {"slide_key_value_cache": False, "slide_inputs": False}
            decoder["sliding_window"] = {"window_size": self._context_tokens, **whole}
        if decoder:
            config.overlay(json.dumps({"model": {"decoder": decoder}}))
        return config

    def count(self, text: str) -> int:
        return self._tokens.count(text)

    def start(self, job: Job, emit: Emit) -> TokenGeneration[GenaiState] | ImageGeneration:
        if job.images:
            return self._start_with_images(job, emit)
        return TokenGeneration(job, emit, self._speech, kept=self._kept, new_state=self._new_state)

    def _new_state(self) -> GenaiState:
        params = self._genai.GeneratorParams(self._model)
        params.set_search_options(max_length=self._context_tokens, batch_size=1)
        return GenaiState(self._genai.Generator(self._model, params))

    def _start_with_images(self, job: Job, emit: Emit) -> ImageGeneration:
        params = self._genai.GeneratorParams(self._model)
        options = {"do_sample": job.temperature > 0, "temperature": max(job.temperature, 0.01)}
        params.set_search_options(max_length=self._context_tokens, batch_size=1, **options)
        if job.schema is not None:
            compact = {**job.schema, "x-guidance": {"whitespace_flexible": False}}
            params.set_guidance("json_schema", json.dumps(compact))
        inputs = self._inputs(job)

        def feed(generator: Any) -> int:
            generator.set_inputs(inputs)
            return int(generator.token_count())

        return ImageGeneration(
            job,
            emit,
            generator=self._genai.Generator(self._model, params),
            feed=feed,
            stream=self._genai.Tokenizer(self._model).create_stream(),
            stop_ids=self._tokens.stop_ids,
        )

    def _inputs(self, job: Job) -> Any:
        images = self._genai.Images.open_bytes(*(image.data for image in job.images))
        return self._processor(job.prompt, images=images)

    def advance(
        self, running: Sequence[TokenGeneration[GenaiState] | ImageGeneration]
    ) -> list[bool | Exception]:
        ended: list[bool | Exception] = []
        for each in running:
            try:
                ended.append(each.step() if isinstance(each, ImageGeneration) else self._read(each))
            except RuntimeError as error:  # one conversation's generator; the others go on
                ended.append(error)
        return ended

    def _read(self, generation: TokenGeneration[GenaiState]) -> bool:
        generator = generation.state.generator
        generator.append_tokens(numpy.array(generation.pending(), dtype=numpy.int32))
        if not generation.wants_logits:
            return generation.take(None)
        logits: Logits = generator.get_logits()
        return generation.take(logits.reshape(-1, logits.shape[-1])[-1].copy())

    def close(self) -> None:
        """Give the model's memory back."""
        self._kept.close()
        del self._model, self._processor
        gc.collect()


_DEVICE_REMEDIES = {
    "qnn": "it needs a Qualcomm NPU, the package onnxruntime-qnn and a model compiled for it",
    "cuda": "it needs the package onnxruntime-genai-cuda and an NVIDIA GPU",
    "dml": "it needs the package onnxruntime-genai-directml on Windows",
}
