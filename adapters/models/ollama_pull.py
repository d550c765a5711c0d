"""Has an Ollama fetch a model, through Ollama's own Python client (extra `ollama`)."""

from __future__ import annotations

from collections.abc import Callable

from adapters.models.hub import PullError
from adapters.models.ollama import OLLAMA_URL
from adapters.models.pull import PullProgress

_SILENCE_S = 300.0  # Ollama says nothing while it checks the hash of a large layer


async def pull_with_ollama(
    model: str,
    *,
    base_url: str = OLLAMA_URL,
    progress: Callable[[PullProgress], None] = lambda _: None,
) -> None:
    """Ollama fetches, checks and keeps the model; raises `PullError`."""
    try:
        import httpx
        import ollama
    except ImportError as error:
        remedy = f"pip install 'firstline[ollama]', or run: ollama pull {model}"
        raise PullError(f"Ollama's client is not installed; {remedy}") from error
    layers: dict[str, tuple[int, int]] = {}  # digest: bytes done and to do
    try:
        # trust_env: a proxy of the environment has no business between us and this machine
        async with ollama.AsyncClient(base_url, timeout=_SILENCE_S, trust_env=False) as client:
            async for step in await client.pull(model, stream=True):
                if step.digest:
                    layers[step.digest] = (step.completed or 0, step.total or 0)
                    progress(_progress(step.status or model, step.digest, layers))
    except ollama.ResponseError as error:
        raise PullError(f"Ollama could not fetch {model!r}: {error.error}") from error
    except (httpx.HTTPError, ConnectionError) as error:
        kind = type(error).__name__
        raise PullError(f"no answer from Ollama at {base_url} ({kind}); is it running?") from error


def _progress(status: str, digest: str, layers: dict[str, tuple[int, int]]) -> PullProgress:
    done, total = (sum(column) for column in zip(*layers.values(), strict=True))
    layer_done, layer_size = layers[digest]
    count = len(layers)
    return PullProgress(status, count, count, layer_done, layer_size, done, total)
