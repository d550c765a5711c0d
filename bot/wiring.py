"""The ways to run: as a service, whole or in one role of it, or as one chat here."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import structlog

from adapters.chat.browser import TENANT, BrowserAdapter, ShownTurn, ThreadInfo
from adapters.chat.terminal import TerminalAdapter
from adapters.chat.types import AttachmentError, ChatAdapter, NotAccepted
from adapters.stores.threads import StoredThread
from agents.routing import Router
from bot.access import Source
from bot.app import Bot, open_bot, open_router
from bot.channels import rules_of
from bot.garbage import keep_for_good
from bot.health import Metrics, State, health_routes
from bot.mattermost import open_adapter
from bot.page import serve_page
from bot.records import Ending, Event
from bot.roles import ProcessRole
from bot.settings import Settings
from bot.shown import shown_turns
from bot.slack_wiring import serve_slack, slack_adapter
from bot.stores import Stores, open_stores
from tools.identity import ConversationKey

log = structlog.get_logger(__name__)

PULL_COMMAND = "firstline models pull phi-3.5-mini"
# Turns get 20 s of it (bot/worker.py); a service manager kills after 30.
_STOP_WITHIN_S = 23.0
_CUT_OFF_S = 1.5


async def run_bot(
    settings: Settings,
    *,
    interactive: bool,
    role: ProcessRole = "all",
    source: Source | None = None,
) -> int:
    """`firstline run`: until a signal, or until every platform refused us.

    `interactive` opens a chat in this terminal too. Returns the exit code; raises
    `StoreRefused`, `StoreUnavailable` and `AdapterError` with their reasons.
    """
    stop = _stop_on_signals()
    async with open_stores(settings) as stores:
        router = await open_router(settings)
        metrics = Metrics()
        with_page = settings.web.enabled and role == "all"
        page = _browser(settings, stores, router) if with_page else None
        adapters = platforms(settings, stores) + ([page] if page else [])
        if interactive:
            banner = [*demonstration_lines(router), *_page_lines(settings, page)]
            adapters.append(_terminal(_terminal_channel(), banner))
        async with open_bot(
            settings,
            stores,
            adapters,
            metrics=metrics,
            router=router,
            role=role,
            source=source,
        ) as bot:
            await _serve(bot, page, stop)
    return 0


async def _serve(bot: Bot, page: BrowserAdapter | None, stop: asyncio.Event) -> None:
    if bot.role != "intake":
        await bot.sandbox.announce()
    state = State(
        ping=bot.stores.redis.ping,
        adapters=tuple(bot.adapters),
        connected=bot.connected,
        router=bot.router,
        metrics=bot.metrics,
        answers=bot.role != "intake",
        warnings=bot.warnings,
        doorbell_fault=bot.stores.doorbell_fault,
    )
    routes = [*health_routes(state), *(page.routes if page else ())]
    adapters = [] if bot.role == "worker" else list(bot.adapters.values())
    slack = serve_slack(bot.settings.slack, adapters)
    async with serve_page(bot.settings.web, routes), slack:
        log.info("bot.started", role=bot.role, adapters=sorted(bot.adapters))
        keep_for_good()
        await _run_until(bot, stop)
        log.info("bot.stopped", role=bot.role)


async def _run_until(bot: Bot, stop: asyncio.Event) -> None:
    """Run to the end; what still hangs `_STOP_WITHIN_S` after `stop` is cut off, which frees
    its leases."""
    running = asyncio.create_task(bot.run(stop), name="bot.run")
    stopping = asyncio.create_task(stop.wait(), name="bot.stop")
    try:
        await asyncio.wait((running, stopping), return_when=asyncio.FIRST_COMPLETED)
        done, _ = await asyncio.wait((running,), timeout=_STOP_WITHIN_S)
        if not done:
            log.warning("bot.stopped_late", after_s=_STOP_WITHIN_S)
            return
        await running
    finally:
        stopping.cancel()
        running.cancel()
        await asyncio.wait((running, stopping), timeout=_CUT_OFF_S)


async def chat(settings: Settings, *, once: str | None, image: Path | None) -> int:
    """`firstline chat`: in this terminal; with `once`, one question and its answer."""
    async with open_stores(settings) as stores:
        router = await open_router(settings)
        channel = f"once-{secrets.token_hex(4)}" if once is not None else _terminal_channel()
        terminal = _terminal(channel, demonstration_lines(router))
        endings: dict[str, Ending] = {}

        def ended(event: Event, ending: Ending) -> None:
            endings[event.message.event_id] = ending

        async with open_bot(settings, stores, [terminal], ended=ended, router=router) as bot:
            if once is None:
                await bot.run(_stop_on_signals())
                return 0
            return await _ask_once(bot, terminal, once, image, endings)


async def _ask_once(
    bot: Bot,
    terminal: TerminalAdapter,
    text: str,
    image: Path | None,
    endings: dict[str, Ending],
) -> int:
    stop = _stop_on_signals()
    terminal.show_banner()
    async with asyncio.TaskGroup() as group:
        working = group.create_task(bot.work(stop), name="bot.work")
        try:
            message = await terminal.ask_once(bot.inbox, text, image)
            answered = group.create_task(terminal.finished(message), name="chat.answer")
            await asyncio.wait((working, answered), return_when=asyncio.FIRST_COMPLETED)
            answered.cancel()
        except (AttachmentError, NotAccepted) as error:
            print(f"firstline: {error}", file=sys.stderr)  # noqa: T201 (the command's output)
            return 1
        finally:
            stop.set()
    ending = endings.get(message.event_id)
    if ending is None:
        print("firstline: stopped before the answer", file=sys.stderr)  # noqa: T201
        return 130
    if ending.state in ("answered", "asked"):
        return 0
    print(f"firstline: {ending.state}: {ending.reason}", file=sys.stderr)  # noqa: T201
    return 1


def demonstration_lines(router: Router) -> list[str]:
    """The first lines of every session that runs on the demonstration model."""
    chain = router.routes("planner")
    if not chain or chain[0].backend != "embedded":
        return []
    return [
        "This is a demonstration model (SmolLM2-135M): it shows how firstline works, and its "
        "answers are often wrong.",
        f"For the real one run: {PULL_COMMAND}",
    ]


def _page_lines(settings: Settings, page: BrowserAdapter | None) -> list[str]:
    return [f"The page: http://{settings.web.host}:{settings.web.port}/"] if page else []


def platforms(settings: Settings, stores: Stores) -> list[ChatAdapter]:
    adapters: list[ChatAdapter] = []
    slack, discord = settings.slack, settings.discord
    rules = rules_of(settings.channels, settings.channel_defaults)
    if slack.enabled:
        adapters.append(slack_adapter(slack, stores, rules))
    if discord.token is not None:
        from adapters.chat.discord import DiscordAdapter, Shards
        from adapters.chat.identifies import PER_DAY

        count = discord.shard_count
        adapters.append(
            DiscordAdapter(
                token=discord.token.get_secret_value(),
                api_url=discord.api_url,
                gateway_url=discord.gateway_url,
                shards=Shards(count, discord.shard_ids or tuple(range(count))) if count else None,
                identifies=stores.identifies("discord", per_day=PER_DAY),
                rules=rules,
                feedback=discord.feedback,
            )
        )
    if settings.mattermost.enabled:
        adapters.append(open_adapter(settings.mattermost, rules))
    return adapters


def _terminal(channel: str, banner: Sequence[str]) -> TerminalAdapter:
    # The doorbell carries the channel: two terminals never take each other's turns.
    return TerminalAdapter(channel=channel, name=f"terminal:{channel}", banner=banner)


def _terminal_channel() -> str:
    return Path(os.ttyname(0)).as_posix().strip("/") if sys.stdin.isatty() else "piped"


def _browser(settings: Settings, stores: Stores, router: Router) -> BrowserAdapter:
    async def history(key: ConversationKey) -> list[ShownTurn]:
        return shown_turns(await stores.memory.turns(key))

    async def threads() -> list[ThreadInfo]:
        return [
            ThreadInfo(name, known.title, known.last_active)
            for name, known in await stores.threads.of(TENANT)
        ]

    async def remember(info: ThreadInfo) -> None:
        known = StoredThread(info.title, info.last_activity)
        await stores.threads.remember(TENANT, info.thread_id, known)

    return BrowserAdapter(
        upload_dir=settings.data_dir / "uploads",
        history=history,
        threads=threads,
        remember_thread=remember,
        banner=demonstration_lines(router),
    )


def _stop_on_signals() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    return stop
