"""What a preset knows of its service, what it asks at load, and what it says of a dead end."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import msgspec
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from adapters.models.openai_api import OpenAICompatible
from adapters.models.openai_errors import Backoff, retry_after_s
from adapters.models.presets import PRESETS, PresetName
from adapters.models.scripted import DEFAULT_CAPABILITIES, Say
from agents.errors import BackendError, RouteRetired
from agents.ports import ModelRequest, PromptMessage, complete
from tests.twins.foundry import FoundryTwin
from tests.twins.llama_chat import LlamaChatTwin
from tests.twins.nim import NimTwin, NvidiaTwin
from tests.twins.openai_service import Fault, ServiceTwin
from tests.twins.vllm import VllmTwin

ASK = ModelRequest((PromptMessage("user", "hello"),), max_tokens=64, first_token_timeout_s=5.0)
SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 40, "minLength": 2},
        "kind": {"const": "ticket"},
    },
    "required": ["name", "kind"],
    "additionalProperties": False,
}
STRUCTURED = msgspec.structs.replace(ASK, schema=SCHEMA)
BUSY: Fault = (429, {"Retry-After": "0.05"}, {"error": {"message": "slow down"}})
HELLO = [Say("hello there")] * 8


@asynccontextmanager
async def ready(
    preset: PresetName, twin: ServiceTwin, *, model: str = "scripted", prepare: bool = True
) -> AsyncIterator[OpenAICompatible]:
    async with twin as url:
        backend = OpenAICompatible(
            "far",
            base_url=url,
            model=model,
            api_key=twin.key,
            capabilities=replace(DEFAULT_CAPABILITIES, replacement="phi-4-mini on foundry"),
            preset=PRESETS[preset],
            backoff=Backoff(first_pause_s=0.01, jitter=lambda: 0.0),
        )
        try:
            if prepare:
                await backend.prepare()
            yield backend
        finally:
            await backend.aclose()


async def test_foundry_gets_its_key_in_its_own_header_and_no_text_to_count() -> None:
    twin = FoundryTwin(HELLO, api_key="azure-key")
    async with ready("foundry", twin) as backend:
        await backend.count_tokens("private words")
        await complete(backend, ASK)

    assert {path for path, _ in twin.seen} == {"/openai/v1/chat/completions"}
    assert all("Authorization" not in headers for _, headers in twin.seen)
    assert not backend.capabilities.exact_counts


async def test_foundry_gets_strict_schemas_without_bounds() -> None:
    twin = FoundryTwin(HELLO, api_key="azure-key")
    async with ready("foundry", twin) as backend:
        await complete(backend, STRUCTURED)

    sent = twin.requests[-1]["response_format"]["json_schema"]
    assert sent["strict"] is True
    assert sent["schema"]["properties"] == {
        "name": {"type": "string"},
        "kind": {"type": "string", "enum": ["ticket"]},
    }
    assert backend.capabilities.constrained


async def test_a_model_without_schemas_is_found_out_at_load_and_told_in_words() -> None:
    twin = FoundryTwin(HELLO, api_key="azure-key", schemas=False)
    with structlog.testing.capture_logs() as logs:
        async with ready("foundry", twin) as backend:
            assert not backend.capabilities.constrained
            await complete(backend, STRUCTURED)

    assert twin.requests[-1]["response_format"] == {"type": "json_object"}
    assert '"maxLength":40' in twin.requests[-1]["messages"][-1]["content"]
    assert len([each for each in twin.requests if "json_schema" in str(each)]) == 1
    [warning] = [each for each in logs if each["event"] == "model.schema_not_enforced"]
    assert (warning["backend"], warning["sent_as"]) == ("far", "json_object")


async def test_openai_itself_gets_the_newer_name_of_the_token_limit() -> None:
    twin = VllmTwin(HELLO, api_key="sk-1")
    async with ready("openai", twin) as backend:
        await complete(backend, ASK)

    assert "max_tokens" not in twin.requests[-1]
    assert twin.requests[-1]["max_completion_tokens"] == 64


async def test_nim_2_is_asked_as_vllm_is() -> None:
    twin = NimTwin(HELLO, version=2)
    async with ready("nim", twin) as backend:
        await complete(backend, STRUCTURED)

    assert "nvext" not in twin.requests[-1]
    assert twin.requests[-1]["response_format"]["json_schema"]["schema"] == SCHEMA
    assert backend.capabilities.constrained


async def test_nim_1_which_takes_a_schema_and_ignores_it_gets_its_own_field() -> None:
    twin = NimTwin(HELLO, version=1)
    async with ready("nim", twin) as backend:
        text, _ = await complete(backend, STRUCTURED)

    assert twin.requests[-1]["nvext"] == {"guided_json": SCHEMA}
    assert "response_format" not in twin.requests[-1]
    assert msgspec.json.decode(text) == {"name": "xx", "kind": "ticket"}
    assert backend.capabilities.constrained


async def test_vllm_counts_exactly_and_its_smaller_window_wins() -> None:
    small = replace(DEFAULT_CAPABILITIES, context_tokens=2048)
    async with ready("vllm", VllmTwin(HELLO, api_key="k", capabilities=small)) as backend:
        assert await backend.count_tokens("one two three") == 4  # the scripted count
        assert backend.capabilities.exact_counts
        assert backend.capabilities.context_tokens == 2048


async def test_a_vllm_that_refuses_response_format_gets_its_own_field() -> None:
    said = {"error": {"message": "response_format is not supported here", "code": 400}}
    twin = VllmTwin(HELLO, faults=[(400, {}, said)])
    async with ready("vllm", twin) as backend:
        await complete(backend, STRUCTURED)

    assert twin.requests[-1]["structured_outputs"] == {"json": SCHEMA}
    assert backend.capabilities.constrained


async def test_estimated_counts_are_called_so() -> None:
    with structlog.testing.capture_logs() as logs:
        async with ready("nim", NimTwin(HELLO)) as backend:
            assert not backend.capabilities.exact_counts

    assert "model.counts_estimated" in [each["event"] for each in logs]


async def test_llama_servers_chat_with_a_phi_template_names_the_backend_to_use() -> None:
    twin = LlamaChatTwin(HELLO, phi_template=True)
    with pytest.raises(BackendError, match='use backend = "llama_server"'):
        async with ready("llama_server", twin):
            pass


async def test_a_model_at_its_end_names_the_replacement() -> None:
    twin = NvidiaTwin(HELLO, api_key="nvapi-1", ended=True)
    async with ready("nvidia", twin, prepare=False) as backend:
        with pytest.raises(RouteRetired, match="phi-4-mini on foundry"):
            await complete(backend, ASK)


async def test_a_missing_deployment_names_the_replacement() -> None:
    twin = FoundryTwin(HELLO, api_key="azure-key")
    async with ready("foundry", twin, model="Phi-3.5-MoE", prepare=False) as backend:
        with pytest.raises(RouteRetired, match="phi-4-mini on foundry"):
            await complete(backend, ASK)


async def test_the_probe_tells_what_is_served_and_costs_no_answer() -> None:
    twin = NvidiaTwin(HELLO, api_key="nvapi-1")
    async with ready("nvidia", twin, prepare=False) as backend:
        assert await backend.probe() == ("scripted",)

    assert [path for path, _ in twin.seen] == ["/v1/models"]


async def test_the_probe_of_a_service_that_lists_other_models_retires_the_route() -> None:
    async with ready("vllm", VllmTwin(HELLO), model="gone", prepare=False) as backend:
        with pytest.raises(RouteRetired):
            await backend.probe()


async def test_foundrys_list_of_base_models_says_nothing_of_a_deployment() -> None:
    twin = FoundryTwin(HELLO, api_key="azure-key")
    async with ready("foundry", twin, prepare=False) as backend:
        assert "scripted" not in await backend.probe()


async def test_a_wrong_key_fails_the_probe_and_the_load() -> None:
    twin = NvidiaTwin(HELLO, api_key="nvapi-1")
    async with ready("nvidia", twin, prepare=False) as backend:
        twin.key = "nvapi-2"
        for asked in (backend.probe, backend.prepare):
            with pytest.raises(BackendError, match="the API key was refused"):
                await asked()


async def test_a_busy_service_is_asked_again_when_it_says() -> None:
    twin = VllmTwin(HELLO, faults=[BUSY, BUSY])
    async with ready("vllm", twin, prepare=False) as backend:
        started = time.monotonic()
        assert (await complete(backend, ASK))[0] == "hello there"

    assert time.monotonic() - started >= 0.1
    assert len(twin.seen) == 3


async def test_a_service_that_stays_busy_is_given_up_after_three_tries() -> None:
    twin = VllmTwin(HELLO, faults=[(503, {}, {})] * 9)
    async with ready("vllm", twin, prepare=False) as backend:
        with pytest.raises(BackendError, match=r"the server failed \(503\)") as caught:
            await complete(backend, ASK)

    assert caught.value.retryable
    assert len(twin.seen) == 3


async def test_a_wait_longer_than_the_first_token_may_take_is_not_begun() -> None:
    twin = VllmTwin(HELLO, faults=[(429, {"Retry-After": "60"}, {})])
    async with ready("vllm", twin, prepare=False) as backend:
        started = time.monotonic()
        with pytest.raises(BackendError, match="it asks to wait 60 s"):
            await complete(backend, ASK)

    assert time.monotonic() - started < 1
    assert len(twin.seen) == 1


async def test_a_spent_quota_is_not_asked_again() -> None:
    spent = {"error": {"message": "no", "code": "insufficient_quota"}}
    twin = VllmTwin(HELLO, faults=[(429, {}, spent)])
    async with ready("vllm", twin, prepare=False) as backend:
        with pytest.raises(BackendError, match="no quota left"):
            await complete(backend, ASK)

    assert len(twin.seen) == 1


def test_the_wish_to_wait_is_read_in_all_its_forms() -> None:
    now = datetime(2026, 11, 23, tzinfo=UTC)
    at = format_datetime(now + timedelta(seconds=90), usegmt=True)

    assert retry_after_s({"Retry-After": "7"}) == 7
    assert retry_after_s({"retry-after-ms": "250", "Retry-After": "1"}) == 0.25
    assert retry_after_s({"Retry-After": at}, now=now) == 90
    assert retry_after_s({"Retry-After": "soon"}) is None
    assert retry_after_s({}) is None


@given(st.text(max_size=30))
def test_no_header_breaks_the_reading_of_a_wait(value: str) -> None:
    waits = retry_after_s({"Retry-After": value, "retry-after-ms": value})

    assert waits is None or waits >= 0
