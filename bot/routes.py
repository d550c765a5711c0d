"""From settings to routes: which backend serves which role, loaded when first used."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from adapters.models.catalogue import catalogue
from adapters.models.engine import EngineOptions
from adapters.models.pull import is_pulled
from agents.ports import Capabilities, ModelBackend, Role
from agents.prompts.templates import TemplateFamily
from agents.routing import Route
from bot.known_models import (
    CONTEXT_TOKENS,
    capabilities_of,
    check_room,
    check_served,
    known_entry,
    weights_of,
)
from bot.settings import RouteSection, Settings

if TYPE_CHECKING:
    from adapters.models.openai_api import OpenAICompatible

Load = Callable[[], Awaitable[ModelBackend]]

_ROLES: tuple[Role, ...] = ("planner", "vision", "small", "embed")
OLLAMA_URL = "http://127.0.0.1:11434"


async def build_chains(settings: Settings) -> dict[Role, tuple[Route, ...]]:
    """The chain of every role, in order of preference.

    Where the operator chose nothing, a pulled Phi comes first, then a Phi in a local Ollama,
    then the demonstration model and the OCR route.
    """
    routes = {name: _route(name, each, settings) for name, each in settings.routes.items()}
    chains: dict[Role, tuple[Route, ...]] = {
        role: tuple(routes[name] for name in settings.roles.chain(role)) for role in _ROLES
    }
    if not settings.configures("planner"):
        chains["planner"] = (*await _found_planners(settings), *chains["planner"])
    if not settings.configures("vision"):
        chains["vision"] = (*_found_eyes(settings), *chains["vision"])
    return chains


async def every_route(settings: Settings) -> dict[str, Route]:
    """Every route by its name, those that serve no role too."""
    routes = {name: _route(name, each, settings) for name, each in settings.routes.items()}
    chains = await build_chains(settings)
    return {route.name: route for chain in chains.values() for route in chain} | routes


async def _found_planners(settings: Settings) -> list[Route]:
    from adapters.models.embedded import detect_ollama

    if pulled := _pulled(settings, "phi-3.5-mini"):
        return [pulled]
    if model := await detect_ollama(OLLAMA_URL):
        return [_route("ollama", _ollama_section(model), settings)]
    return []


def _ollama_section(model: str) -> RouteSection:
    """By Ollama's own API, which honours the window, if the model's template is known here."""
    from adapters.models.raw_server import family_of

    if family_of(model):
        return RouteSection(backend="ollama", model=model, base_url=OLLAMA_URL)
    return RouteSection(backend="openai_api", model=model, base_url=f"{OLLAMA_URL}/v1")


def ollama_url(settings: Settings) -> str:
    """Where the operator's Ollama is: the first route's that names one."""
    given = (each.base_url for each in settings.routes.values() if each.backend == "ollama")
    return next((url for url in given if url), OLLAMA_URL)


def _found_eyes(settings: Settings) -> list[Route]:
    pulled = _pulled(settings, "phi-3.5-vision")
    return [pulled] if pulled else []


def _pulled(settings: Settings, name: str) -> Route | None:
    """A model of the catalogue, if `firstline models pull` brought it here."""
    entry = catalogue().entry(name, "openvino")
    if entry is None or not is_pulled(settings.data_dir / "models" / name):
        return None
    section = RouteSection(backend="openvino", model=name, kept_tokens=entry.cached_tokens)
    return _route(name, section, settings)


def _route(name: str, section: RouteSection, settings: Settings) -> Route:
    load: Load
    match section.backend:
        case "openvino" | "transformers" | "onnx_genai" | "llama_cpp" | "mlx":
            load = _local(name, section, settings)
        case "openai_api":
            load = partial(_load_openai_api, name, section)
        case "ollama":
            load = partial(_load_ollama, name, section)
        case "llama_server":
            load = partial(_load_llama_server, name, section)
        case "embedded":
            load = partial(_load_embedded, name)
        case "ocr":
            load = partial(_load_ocr, name)
        case "langchain":
            load = partial(_load_langchain, name, section)
        case "scripted":
            load = partial(_load_scripted, name)
    return Route(name, section.backend, section.model, section.placement, load)


def _local(name: str, section: RouteSection, settings: Settings) -> Load:
    models = settings.data_dir / "models"
    options = EngineOptions(
        device=section.device,
        threads=section.threads,
        slots=section.max_concurrent,
        kept_tokens=section.kept_tokens,
    )
    return partial(_load_chosen, name, section, models, options)


def _template(name: str, section: RouteSection, folder: Path) -> TemplateFamily:
    """As set, else as the model's name tells; raises `BackendError` for an unknown one."""
    from adapters.models.raw_server import chosen_family, family_of

    model = section.model or folder.name
    entry = known_entry(section)
    if entry and not section.template:
        return entry.template
    if section.template or family_of(model):
        return chosen_family(name, model, section.template)
    return "phi3_vision" if section.max_images else "phi3"


async def _load_chosen(
    name: str, section: RouteSection, models: Path, options: EngineOptions
) -> ModelBackend:
    folder = weights_of(section, models)
    await asyncio.to_thread(check_room, name, section, folder)
    template, capabilities = _template(name, section, folder), capabilities_of(section)
    return await _load_local(section.backend, name, folder, template, capabilities, options)


async def _load_local(
    engine: str,
    name: str,
    folder: Path,
    template: TemplateFamily,
    capabilities: Capabilities,
    options: EngineOptions,
) -> ModelBackend:
    """By the module named as the engine; its packages are imported with it."""
    module = importlib.import_module(f"adapters.models.{engine}")
    backend: ModelBackend = await module.load(
        name, folder, template=template, capabilities=capabilities, options=options
    )
    return backend


def openai_backend(name: str, section: RouteSection) -> OpenAICompatible:
    """The client of an `openai_api` route, not yet made ready; raises `RouteRetired`."""
    from adapters.models.entra import EntraTokens
    from adapters.models.openai_api import OpenAICompatible
    from adapters.models.presets import ANY_SERVER, PRESETS

    check_served(name, section)
    return OpenAICompatible(
        name,
        base_url=section.base_url or "",
        model=section.model,
        api_key=section.api_key.get_secret_value() if section.api_key else None,
        capabilities=capabilities_of(section),
        preset=PRESETS[section.preset] if section.preset else ANY_SERVER,
        tokens=EntraTokens(name) if section.auth == "entra" else None,
    )


async def _load_openai_api(name: str, section: RouteSection) -> ModelBackend:
    backend = openai_backend(name, section)
    try:
        if section.preset:
            await backend.prepare()
    except BaseException:
        await backend.aclose()
        raise
    return backend


async def _load_ollama(name: str, section: RouteSection) -> ModelBackend:
    from adapters.models.ollama import OllamaBackend

    return await OllamaBackend.load(
        name,
        model=section.model,
        base_url=section.base_url or OLLAMA_URL,
        context_tokens=section.context_tokens or CONTEXT_TOKENS,
        max_images=section.max_images,
        template=section.template,
        api_key=section.api_key.get_secret_value() if section.api_key else None,
    )


async def _load_llama_server(name: str, section: RouteSection) -> ModelBackend:
    from adapters.models.llama_server import LLAMA_SERVER_URL, LlamaServerBackend

    return await LlamaServerBackend.load(
        name,
        base_url=section.base_url or LLAMA_SERVER_URL,
        model=section.model,
        context_tokens=section.context_tokens,
        template=section.template,
        api_key=section.api_key.get_secret_value() if section.api_key else None,
    )


async def _load_embedded(name: str) -> ModelBackend:
    from adapters.models.embedded import load_embedded

    return await load_embedded(name)


async def _load_ocr(name: str) -> ModelBackend:
    from adapters.models.ocr import OcrBackend

    return OcrBackend(name)


async def _load_langchain(name: str, section: RouteSection) -> ModelBackend:
    from adapters.models.langchain_model import LangChainBackend

    capabilities = replace(capabilities_of(section), constrained=False)
    return await LangChainBackend.load(name, section.model, capabilities=capabilities)


async def _load_scripted(name: str) -> ModelBackend:
    from adapters.models.scripted import ScriptedBackend, demo_policy

    return ScriptedBackend(name, demo_policy)
