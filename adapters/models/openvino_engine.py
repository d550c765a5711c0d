"""The only file that imports openvino_genai: a pipeline, its tokenizer, one blocking call.

Measured with 2026.4.1: `LLMPipeline.generate` runs without the interpreter lock (the event
loop lags 3 ms); `ContinuousBatchingPipeline.step` holds it (500 ms), so it can't be used.
"""

from __future__ import annotations

import gc
import importlib
import io
import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapters.models.engine import (
    Emit,
    EngineOptions,
    EngineUnavailable,
    Job,
    Outcome,
    cores,
    imported,
)
from adapters.models.grammar import SchemaNotCovered, grammar_of
from agents.ports import ImageData
from tools.contract import JsonSchema

VISION_FILE = "openvino_vision_embeddings_model.xml"
_CHUNK_CHARS = 2000  # far below 8,192 tokens, where GGUF tokenizers cut in silence


_UNUSED = Outcome("cancelled", 0, 0)


@dataclass(slots=True)
class _Generation:
    job: Job
    emit: Emit
    used: Outcome = _UNUSED

    def outcome(self) -> Outcome:
        return self.used

    def close(self, *, failed: bool = False) -> None:
        """The pipeline keeps its own prefix cache."""


class OpenVinoEngine:
    """An `Engine` whose one step is the whole generation."""

    slots = 1

    def __init__(
        self,
        path: Path,
        *,
        options: EngineOptions,
        context_tokens: int,
        stops: Sequence[str],
    ) -> None:
        self._genai = imported("openvino_genai", extra="openvino")
        self._generating = threading.Lock()  # the pipeline refuses a second caller
        if not path.exists():
            raise EngineUnavailable(f"model path {path.name!r} does not exist")
        self.takes_images = (path / VISION_FILE).exists()
        kind = self._genai.VLMPipeline if self.takes_images else self._genai.LLMPipeline
        tokens = max(options.kept(context_tokens), context_tokens)  # a running prompt is in it
        self._pipeline = kind(
            str(path),
            options.device or "CPU",
            scheduler_config=self._scheduler(tokens),
            INFERENCE_NUM_THREADS=options.threads or cores(),
        )
        self._tokenizer = self._pipeline.get_tokenizer()
        self._stop_ids = {ids[0] for ids in map(self.encode, stops) if len(ids) == 1}

    def _scheduler(self, cached_tokens: int) -> Any:
        # Prompt prefixes and running prompts share this memory.
        scheduler = self._genai.SchedulerConfig()
        scheduler.enable_prefix_caching = True
        scheduler.num_kv_blocks = max(cached_tokens // 32, 8)  # 32 tokens a block on CPU
        scheduler.max_num_batched_tokens = 512
        return scheduler

    def encode(self, text: str) -> list[int]:
        """Token ids; control tags count as the tokens they are."""
        tensor = self._tokenizer.encode(text, add_special_tokens=False).input_ids
        return [int(one) for one in tensor.data[0]] if tensor.shape[1] else []

    def count(self, text: str) -> int:
        """Exact number of tokens, also past the length where tokenizers cut."""
        return sum(
            int(self._tokenizer.encode(part, add_special_tokens=False).input_ids.shape[1])
            for part in _chunks(text)
        )

    def start(self, job: Job, emit: Emit) -> _Generation:
        return _Generation(job, emit)

    def advance(self, running: Sequence[_Generation]) -> list[bool]:
        for generation in running:
            with self._generating:
                generation.used = self._generate(generation.job, generation.emit)
        return [True] * len(running)

    def _generate(self, job: Job, emit: Emit) -> Outcome:
        status = self._genai.StreamingStatus

        def streamer(text: str) -> Any:
            return status.RUNNING if emit(text) else status.CANCEL

        config = self._config(job)
        if self.takes_images:
            images = [_pixels(image) for image in job.images]
            result = self._pipeline.generate(
                job.prompt, images=images, generation_config=config, streamer=streamer
            )
        else:
            inputs = self._tokenizer.encode(job.prompt, add_special_tokens=False)
            result = self._pipeline.generate(inputs, config, streamer)
        return self._outcome(result)

    def _outcome(self, result: Any) -> Outcome:
        ran_out = result.finish_reasons == [self._genai.GenerationFinishReason.LENGTH]
        metrics = result.perf_metrics
        return Outcome(
            "length" if ran_out else "stop",
            int(metrics.get_num_input_tokens()),
            int(metrics.get_num_generated_tokens()),
        )

    def _config(self, job: Job) -> Any:
        config = self._pipeline.get_generation_config()
        config.apply_chat_template = False
        config.max_new_tokens = job.max_tokens
        config.do_sample = job.temperature > 0
        if job.temperature > 0:
            config.temperature = job.temperature
        config.stop_token_ids = set(config.stop_token_ids) | self._stop_ids
        if job.schema is not None:
            config.structured_output_config = self._structure(job.schema)
        return config

    def _structure(self, schema: JsonSchema) -> Any:
        try:
            return self._genai.StructuredOutputConfig(grammar=grammar_of(schema))
        except SchemaNotCovered:
            return self._genai.StructuredOutputConfig(json_schema=json.dumps(schema))

    def close(self) -> None:
        """Give the model's memory back."""
        del self._pipeline, self._tokenizer
        gc.collect()


def _chunks(text: str) -> list[str]:
    """Pieces cut before a blank, where no token spans the cut."""
    parts: list[str] = []
    start = 0
    while len(text) - start > _CHUNK_CHARS:
        end = text.rfind(" ", start + 1, start + _CHUNK_CHARS)
        end = end if end > start else start + _CHUNK_CHARS
        while end > start + 1 and text[end - 1] == " ":
            end -= 1
        parts.append(text[start:end])
        start = end
    return [*parts, text[start:]] if text[start:] else parts


def _pixels(image: ImageData) -> Any:
    import numpy
    from PIL import Image

    tensor = importlib.import_module("openvino").Tensor
    with Image.open(io.BytesIO(image.data), formats=["PNG", "JPEG"]) as picture:
        return tensor(numpy.asarray(picture.convert("RGB"))[None])
