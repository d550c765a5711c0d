"""The footer tells of another route than usual once for every change."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

from adapters.models.scripted import ScriptedBackend, Step
from adapters.models.scripted_replies import Fail, Reply
from agents.errors import BackendError
from agents.events import PlanEnded
from agents.ports import ModelBackend, ModelRequest
from agents.routing import Route, Router
from bot.app import open_bot
from bot.footer import switch_note
from bot.stores import open_stores
from tests.bot.test_bot import Chat, message, settings_in, until

ANSWER = Step({"thought": "", "step": {"action": "final", "arguments": {"answer": "Done."}}})
WHY = (("big", "down"), ("middle", "resting"))


def answered(route: str, *instead_of: tuple[str, str]) -> PlanEnded:
    return PlanEnded("answered", "x", (), route=route, instead_of=instead_of)


def test_a_change_is_told_with_every_route_and_reason_and_then_no_more() -> None:
    note, told = switch_note(answered("small", *WHY), "")
    assert note == (
        "`big` could not serve (down); `middle` could not serve (resting), so `small` answered"
    )
    assert switch_note(answered("small", *WHY), told) == ("", told)
    assert switch_note(answered("middle", WHY[0]), told)[0].endswith("so `middle` answered")
    assert switch_note(answered("big"), told) == ("`big` answers again", "")
    assert switch_note(answered("small"), told) == ("", ""), "a pin: nothing is back"


def test_a_turn_that_failed_names_its_reasons_each_time() -> None:
    failed = PlanEnded("failed", "x", (), instead_of=(WHY[0],))
    assert switch_note(failed, "big>small") == ("`big` could not serve (down)", "big>small")


async def test_a_conversation_is_told_once_that_a_smaller_model_answers(tmp_path: Path) -> None:
    is_down, chat = True, Chat()

    def policy(request: ModelRequest) -> Reply:
        return Fail(BackendError("big", "down", retryable=True)) if is_down else ANSWER

    def route(backend: ScriptedBackend) -> Route:
        async def load() -> ModelBackend:
            return backend

        return Route(backend.name, "scripted", "m", "local", load)

    big, small = ScriptedBackend("big", policy), ScriptedBackend("small", lambda request: ANSWER)
    router = Router({"planner": [route(big), route(small)]})
    settings = settings_in(tmp_path)
    replies: list[str] = []
    async with (
        open_stores(settings) as stores,
        open_bot(settings, stores, [chat], router=router) as bot,
        asyncio.TaskGroup() as group,
    ):
        stop = asyncio.Event()
        group.create_task(bot.run(stop))
        for number in range(1, 5):
            is_down = number < 3
            await bot.inbox.accept(message("Hello", number=number))
            await until(partial(chat.delivered.get, f"t1-{number}"))
            replies = [texts[0] for texts in chat.delivered.values()]
        stop.set()

    assert replies == [
        "Done.\n\n_`big` could not serve (down), so `small` answered_",
        "Done.",
        "Done.\n\n_`big` answers again_",
        "Done.",
    ]
