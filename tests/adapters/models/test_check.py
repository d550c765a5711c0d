"""The live checks: a sound backend passes all, a broken one is told what is wrong."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import replace

import pytest

from adapters.models.check import CHECKS, CheckResult, run_checks
from adapters.models.scripted import DEFAULT_CAPABILITIES, ScriptedBackend
from agents.ports import Capabilities, Delta, Finish, ModelRequest, Usage
from tests.contracts.backends import talk


class Broken:
    """Keeps no promise: one piece, wrong counts, no JSON, any prompt, after closing too."""

    name = "broken"
    text = "one two three four five six seven eight nine ten"

    def __init__(self, **abilities: object) -> None:
        capabilities = Capabilities(context_tokens=4096, constrained=True)
        self.capabilities = replace(capabilities, **abilities)  # type: ignore[arg-type]

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Delta | Finish, None]:
        yield Delta(self.text)
        yield Finish("stop", Usage(0, 20))

    async def count_tokens(self, text: str) -> int:
        return 1

    async def aclose(self) -> None:
        """Nothing is closed."""


async def results(backend: Broken | ScriptedBackend) -> dict[str, CheckResult]:
    return {each.name: each async for each in run_checks(backend)}


async def test_a_sound_backend_passes_every_check_and_each_has_a_time() -> None:
    found = await results(ScriptedBackend("scripted", talk))

    assert list(found) == list(CHECKS)
    assert {each.outcome for each in found.values()} == {"pass"}
    assert all(each.seconds >= 0 and each.detail for each in found.values())


@pytest.mark.parametrize(
    ("check", "fault"),
    [
        ("streaming", "20 tokens came in one piece"),
        ("usage", "0 of the prompt"),
        ("token limit", "ended as 'stop'"),
        ("token counts", "[1, 1, 1, 1]"),
        ("schema", "answer 1 of 10 is not of the schema"),
        ("stop string", "went on past its stop string"),
        ("prompt too long", "4096 words went into a window of 4096"),
        ("images", "1 images were taken, 0 are declared"),
        ("close", "it answered after it was closed"),
    ],
)
async def test_a_broken_promise_is_named(check: str, fault: str) -> None:
    found = (await results(Broken()))[check]

    assert found.outcome == "fail"
    assert fault in found.detail


async def test_what_has_no_meaning_for_a_backend_is_skipped_with_the_reason() -> None:
    free = await results(Broken(constrained=False))
    reader = await results(Broken(reads_text_only=True, max_images=8))

    assert (free["schema"].outcome, free["schema"].detail) == (
        "skipped",
        "does not claim constrained decoding",
    )
    assert reader["streaming"].outcome == "skipped"
    assert reader["images"].outcome == "fail"


async def test_a_backend_that_takes_images_is_asked_with_as_many_as_it_declares() -> None:
    capabilities = replace(DEFAULT_CAPABILITIES, max_images=3)
    found = await results(ScriptedBackend("eyes", talk, capabilities=capabilities))

    assert found["images"].detail == "3 taken, 4 refused"


async def test_a_backend_that_hangs_fails_its_check_in_time() -> None:
    found = [each async for each in run_checks(ScriptedBackend("slow", talk), timeout_s=0.0)]

    assert (found[0].outcome, found[0].detail) == ("fail", "not done within 0 s")
