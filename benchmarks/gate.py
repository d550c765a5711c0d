"""What the gate costs: admission of an event, and the rules at one call."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

from adapters.chat.types import Author
from benchmarks.report import Table
from bot.access import Access
from bot.settings import load_settings
from tools.contract import ToolCall
from tools.identity import ConversationKey, Place, Principal
from tools.labels import Label, label_of
from tools.rules import Asked, decide, hash_of
from tools.toolbox import Toolbox, built_in_tools

ADMISSION_US, RULES_US = 200, 50
_RUNS, _EACH = 200, 100
_TENANT = "slack:T1"
_SCOPES = 64  # a turn that joined what many people may read


async def measure() -> list[Table]:
    people = [f"U{n:07d}" for n in range(10_000)]
    channels = [f"C{n:07d}" for n in range(1_000)]
    access = Access(
        load_settings(
            environ={},
            overrides={
                "slack.allow.workspaces": ["T1"],
                "slack.allow.channels": channels,
                "slack.allow.users": people,
            },
        )
    )
    key = ConversationKey(_TENANT, "public", channels[-1], "1.0")
    member, stranger = Author(people[-1], "member"), Author("U9", "member")
    principal, place = Principal(_TENANT, people[-1], "member"), Place.of(key)
    toolbox = Toolbox(built_in_tools())
    call = ToolCall("1.1", "calculate", {"expression": "17 * 23"})
    tool = toolbox.get(call.name)
    scopes = frozenset(f"user:{_TENANT}/U{n}" for n in range(_SCOPES))
    label = label_of(place, principal).join(Label(readers=scopes))

    def judged() -> None:
        misfit = toolbox.check(call.name, call.arguments)
        granted = access.granted(call.name, principal, place)
        decide(Asked(tool, principal, place, label, misfit=misfit, granted=granted))

    table = Table("The gate, µs (medians)", ("what", "µs", "target"))
    admission = (
        ("admission, 10,000 people listed", lambda: access.gate.admit(key, member)),
        ("a denial", lambda: access.gate.admit(key, stranger)),
    )
    for what, work in admission:
        table.add(what, _us(work), f"≤ {ADMISSION_US}")
    table.add("the rules at one call, its schema included", _us(judged), f"≤ {RULES_US}")
    table.add("the hash a press is bound to", _us(lambda: hash_of([call])), "-")
    return [table]


def _us(work: Callable[[], object]) -> str:
    found = []
    for _ in range(_RUNS):
        began = time.perf_counter()
        for _ in range(_EACH):
            work()
        found.append((time.perf_counter() - began) / _EACH * 1e6)
    return f"{statistics.median(found):.1f}"
