"""The services behind `backend = "openai_api"`, as data: where, with which key, in which words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from adapters.models.openai_schema import SchemaMode

PresetName = Literal[
    "foundry",
    "nvidia",
    "nim",
    "vllm",
    "llama_server",
    "openai",
    "github_models",
    "azure_serverless",
]
# For whoever chose a service that was switched off; the catalogue knows dates and models.
INSTEAD_OF_CLOSED = (
    'preset "foundry" with Phi-4-mini-instruct (Phi-4-multimodal-instruct for images), or a '
    'server of your own with the open weights (presets "vllm" and "nim", backends ollama and '
    "llama_server)"
)


@dataclass(frozen=True, slots=True)
class Preset:
    """What is known of a service before it is asked.

    `schema_modes`: how an answer's schema is sent, the next one after a refusal. `is_cloud`
    holds whatever the host's name says: a gateway near by still sends the text away.
    """

    title: str
    base_url: str | None = None
    path: str = "/v1"  # completes a URL that is only a host
    key_variable: str | None = None
    key_header: Literal["Authorization", "api-key"] = "Authorization"
    needs_key: bool = False
    is_cloud: bool = False
    schema_modes: tuple[SchemaMode, ...] = ("json_schema", "json_object", "none")
    probes_schema: bool = False  # its support differs by model or version: asked once, at load
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    counts: bool | None = None  # whether it has POST /tokenize; None: asked once
    lists_models: bool = False  # GET /models tells every id that a route can name


# Any server nobody named: nothing is asked beforehand, its refusals teach.
ANY_SERVER = Preset("an OpenAI-compatible server")

# Sources: facts and documentation of vLLM 0.33 (structured outputs: guided_json is gone), NIM
# 2.1 (migration guide: nvext is gone), NIM 1.5 (nvext.guided_json), Microsoft's OpenAI v1 pages
# (`model` is a deployment's name, which /models does not list), llama.cpp's server README.
PRESETS: Mapping[PresetName, Preset] = {
    "foundry": Preset(
        "Azure AI Foundry, OpenAI v1",
        path="/openai/v1",
        key_variable="AZURE_OPENAI_API_KEY",
        key_header="api-key",
        needs_key=True,
        is_cloud=True,
        schema_modes=("strict", "json_object", "none"),
        probes_schema=True,
        counts=False,
    ),
    "nvidia": Preset(
        "NVIDIA, hosted",
        base_url="https://integrate.api.nvidia.com/v1",
        key_variable="NVIDIA_API_KEY",
        needs_key=True,
        is_cloud=True,
        schema_modes=("json_schema", "nvext", "json_object", "none"),
        probes_schema=True,
        counts=False,
        lists_models=True,
    ),
    "nim": Preset(
        "NVIDIA NIM, self-hosted",
        base_url="http://127.0.0.1:8000/v1",
        schema_modes=("json_schema", "nvext", "json_object", "none"),
        probes_schema=True,
        lists_models=True,
    ),
    "vllm": Preset(
        "vLLM",
        base_url="http://127.0.0.1:8000/v1",
        key_variable="VLLM_API_KEY",
        schema_modes=("json_schema", "structured_outputs", "json_object", "none"),
        counts=True,
        lists_models=True,
    ),
    "llama_server": Preset(
        "llama-server's chat endpoint",
        base_url="http://127.0.0.1:8080/v1",
        key_variable="LLAMA_API_KEY",
        probes_schema=True,
        counts=True,
    ),
    "openai": Preset(
        "OpenAI",
        base_url="https://api.openai.com/v1",
        key_variable="OPENAI_API_KEY",
        needs_key=True,
        is_cloud=True,
        schema_modes=("strict", "json_object", "none"),
        probes_schema=True,
        max_tokens_field="max_completion_tokens",
        counts=False,
        lists_models=True,
    ),
    "github_models": Preset(
        "GitHub Models",
        base_url="https://models.github.ai/inference",
        key_variable="GITHUB_TOKEN",
        is_cloud=True,
    ),
    "azure_serverless": Preset(
        "Azure AI serverless",
        path="/models",
        key_variable="AZURE_INFERENCE_CREDENTIAL",
        key_header="api-key",
        is_cloud=True,
    ),
}
CLOSED: tuple[PresetName, ...] = ("github_models", "azure_serverless")


def completed_url(preset: PresetName, url: str) -> str:
    """The URL with the service's path where it has none; raises `ValueError` for a wrong one."""
    if preset in CLOSED:
        return url
    parts, own = urlsplit(url), PRESETS[preset]
    if not parts.path.strip("/"):
        return f"{url.rstrip('/')}{own.path}"
    if not parts.path.rstrip("/").endswith("/v1"):
        raise ValueError(f"preset {preset} is served below {own.path}; end the URL with it")
    return url
