"""Engines of this process: `python -m benchmarks.engines [--steps N] [NAME]…`.

For each: steps that keep their schema, prompts that are not read again, what our streaming
costs, and eight conversations at once.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from random import Random
from statistics import median

import jsonschema
import msgspec

from adapters.models.embedded import CAPABILITIES as SMOLLM
from adapters.models.embedded import find_embedded_model
from adapters.models.local import LocalBackend
from agents.ports import Delta, Finish, ModelBackend, ModelRequest, PromptMessage, complete
from agents.steps import step_schema
from benchmarks.bare_engine import bare_seconds
from benchmarks.report import Table, write
from tests.agents.test_planner import ten_tools
from tests.contracts.engines import ENGINE_BACKENDS, running
from tools.contract import JsonSchema, Tool

Open = Callable[[], AbstractAsyncContextManager[ModelBackend]]
TURNS, TALKS, REPEATS = 20, 8, 5
WORDS = [
    "the",
    "server",
    "says",
    "that",
    "every",
    "order",
    "of",
    "last",
    "week",
    "came",
    "twice",
    "and",
    "nobody",
    "in",
    "the",
    "team",
    "knows",
    "why",
    "so",
    "please",
    "look",
    "at",
    "the",
    "log",
    "and",
    "tell",
    "us",
    "when",
    "it",
    "began",
    "and",
    "what",
    "we",
    "should",
    "answer",
    "to",
    "them",
]


@asynccontextmanager
async def _smollm(engine: str) -> AsyncIterator[ModelBackend]:
    async with running(
        engine,
        find_embedded_model,
        template="chatml",
        capabilities=SMOLLM,
        slots=TALKS,
    ) as backend:
        yield backend


ENGINES: dict[str, Open] = {
    **ENGINE_BACKENDS,
    "openvino (SmolLM2)": partial(_smollm, "openvino"),
    "llama_cpp (SmolLM2)": partial(_smollm, "llama_cpp"),
}


@dataclass(frozen=True, slots=True)
class Steps:
    """How many steps kept their schema."""

    valid: int
    cut: int  # ran out of tokens
    tried: int
    ms: float  # a step, median


def _said(random: Random, words: int) -> str:
    return " ".join(random.choice(WORDS) for _ in range(words))


def _schemas(random: Random) -> Sequence[JsonSchema]:
    """Steps over many sets of tools, with answers short enough for a random model to end."""
    tools: tuple[Tool, ...] = tuple(ten_tools())
    sets = [random.sample(tools, random.randint(1, 4)) for _ in range(12)]
    return [step_schema(each, max_answer_chars=120) for each in sets]


async def measure_steps(backend: ModelBackend, count: int) -> Steps:
    random = Random(17)
    schemas = _schemas(random)
    valid = cut = 0
    seconds: list[float] = []
    for number in range(count):
        schema = schemas[number % len(schemas)]
        question = PromptMessage("user", _said(random, random.randint(3, 30)))
        started = time.perf_counter()
        text, finish = await complete(
            backend,
            ModelRequest((question,), max_tokens=1800, temperature=0.9, schema=schema),
        )
        seconds.append(time.perf_counter() - started)
        if finish.reason == "length":
            cut += 1
            continue
        try:
            jsonschema.validate(msgspec.json.decode(text), schema)
            valid += 1
        except (msgspec.DecodeError, jsonschema.ValidationError):
            print(f"{backend.name}: malformed: {text!r}")
    return Steps(valid, cut, count, 1000 * median(seconds))


async def measure_reuse(backend: ModelBackend) -> float:
    """The most that a turn of a conversation of 20 read again, as a share of the turn before."""
    random = Random(5)
    history = [PromptMessage("system", _said(random, 60))]
    worst, before = 0.0, 0
    for _ in range(TURNS):
        history.append(PromptMessage("user", _said(random, 6)))
        text, finish = await complete(backend, ModelRequest(tuple(history), max_tokens=24))
        history.append(PromptMessage("assistant", text))
        if before:
            worst = max(worst, max(before - finish.usage.cached_tokens, 0) / before)
        before = finish.usage.prompt_tokens
    return worst


async def measure_first_token(backend: ModelBackend) -> tuple[float, float]:
    """Seconds to the first token after 1,500 tokens of history: read anew, and known."""
    cold, warm = [], []
    for number in range(REPEATS):
        random = Random(100 + number)
        words = _said(random, 300)
        while await backend.count_tokens(words) < 1500:
            words += " " + _said(random, 50)
        history = (PromptMessage("system", f"{number} {words}"), PromptMessage("user", "Hello."))
        cold.append(await _first_token(backend, history))
        more = (*history, PromptMessage("assistant", "Yes?"), PromptMessage("user", "Go on."))
        warm.append(await _first_token(backend, more))
    return median(cold), median(warm)


async def _first_token(backend: ModelBackend, messages: tuple[PromptMessage, ...]) -> float:
    started = time.perf_counter()
    async with aclosing(backend.stream(ModelRequest(messages, max_tokens=4))) as items:
        async for item in items:
            if isinstance(item, Delta | Finish):
                break
    return time.perf_counter() - started


async def measure_overhead(backend: LocalBackend) -> float:
    """What our streaming takes of the bare loop's tokens a second, as a share."""
    request = ModelRequest((PromptMessage("user", "Count on."),), max_tokens=200)
    shares = []
    for _ in range(REPEATS):
        bare, tokens = await bare_seconds(backend, request)
        started = time.perf_counter()
        _, finish = await complete(backend, request)
        ours = time.perf_counter() - started
        shares.append(1 - (finish.usage.completion_tokens / ours) / (tokens / bare))
    return median(shares)


async def measure_together(backend: ModelBackend) -> float:
    """Tokens a second of eight conversations at once against one conversation's."""

    async def talk(number: int) -> int:
        asked = (PromptMessage("user", f"Story {number}, please."),)
        _, finish = await complete(
            backend, ModelRequest(asked, max_tokens=96, first_token_timeout_s=120)
        )
        return finish.usage.completion_tokens

    ratios = []
    for _ in range(3):
        started = time.perf_counter()
        one = await talk(0) / (time.perf_counter() - started)
        started = time.perf_counter()
        every = sum(await asyncio.gather(*(talk(number) for number in range(TALKS))))
        ratios.append(every / (time.perf_counter() - started) / one)
    return median(ratios)


async def measure(names: Sequence[str], steps: int) -> list[Table]:
    form = Table(
        "Steps that keep their schema, at temperature 0.9",
        ("engine", "valid", "malformed", "cut by the token limit", "ms a step"),
    )
    speed = Table(
        "Prompts read again, first token at 1,500 tokens of history, streaming, eight at once",
        ("engine", "read again (at most 5 %)", "first token: anew, known", "ratio (at least 5)",
         "our streaming costs (at most 5 %)", "eight against one, tokens/s"),
    )  # fmt: skip
    for name in names:
        async with ENGINES[name]() as backend:
            assert isinstance(backend, LocalBackend)
            kept = await measure_steps(backend, steps)
            wrong = kept.tried - kept.valid - kept.cut
            form.add(name, f"{kept.valid} of {kept.tried}", wrong, kept.cut, f"{kept.ms:.0f}")
            read_again = await measure_reuse(backend)
            cold, warm = await measure_first_token(backend)
            costs = await measure_overhead(backend)
            ratio = await measure_together(backend)
            speed.add(
                name, f"{read_again:.1%}", f"{1000 * cold:.0f} ms, {1000 * warm:.0f} ms",
                f"{cold / warm:.1f}", f"{costs:.1%}", f"{ratio:.2f}",
            )  # fmt: skip
        print(form.rows[-1], speed.rows[-1], flush=True)
    return [form, speed]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(ENGINES)}; default: all")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md")
    given = parser.parse_args()
    tables = asyncio.run(measure(given.names or list(ENGINES), given.steps))
    for each in tables:
        print(f"\n{each.markdown()}")
    if given.write:
        write(tables, "engines")
