"""The bot, put together: one TaskGroup owns adapters, workers, the page and every turn."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime

import structlog

from adapters.chat.types import AdapterError, ChatAdapter, Message
from adapters.decoding.sandbox import Sandbox
from agents.budget import Budget
from agents.planner import PlanLimits, Planner
from agents.rewriting import Rewriter
from agents.routing import Router
from agents.summary import Summarizer
from agents.vision import Eyes
from bot.access import Access, Reread, Source
from bot.answering import Answerer
from bot.approvals import Approvals
from bot.attachments import AttachmentReader
from bot.channels import support_of
from bot.commands import Commands
from bot.delivery import Delivery, notify
from bot.errands import Errands
from bot.health import Metrics
from bot.inbox import BotInbox
from bot.knowledge import Knowledge, open_knowledge
from bot.languages import Languages
from bot.line import Line
from bot.memory_commands import MemoryCommands
from bot.privacy import LocalOnly
from bot.quotas import Quotas, token_limits
from bot.ratings import Ratings
from bot.recaps import Recaps
from bot.recording import Recorder
from bot.records import Ending, Event
from bot.roles import ProcessRole
from bot.routes import build_chains
from bot.settings import Settings
from bot.stores import Stores
from bot.support import Support
from bot.tasks import Tasks
from bot.tool_wiring import mcp_tools, tell_prompt_size, toolbox_of
from bot.turn import TurnRunner
from bot.worker import Worker
from tools.contract import Tool
from tools.toolbox import Toolbox

log = structlog.get_logger(__name__)

_RESTART_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 60.0


class Bot:
    """Everything that runs; made by `open_bot`, run once."""

    def __init__(
        self,
        settings: Settings,
        stores: Stores,
        router: Router,
        adapters: Sequence[ChatAdapter],
        *,
        ended: Callable[[Event, Ending], None],
        metrics: Metrics,
        role: ProcessRole = "all",
        source: Source | None = None,
        more_tools: Iterable[Tool] = (),
        knowledge: Knowledge | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._clock = clock
        self.settings, self.stores, self.router, self.metrics = settings, stores, router, metrics
        self.role = role
        self.adapters = {adapter.name: adapter for adapter in adapters}
        self._listening: set[str] = set()
        self._failed: list[AdapterError] = []
        self._group: asyncio.TaskGroup | None = None
        self._local_only = LocalOnly(settings.models)
        self.sandbox = Sandbox()
        memory = MemoryCommands(
            stores.memory,
            stores.facts,
            stores.blobs,
            stores.changes,
            stores.feedback,
            stores.reminders,
            retention_days=settings.memory.retention_days,
        )
        self.access = Access(settings)
        self._reread = Reread(source, self.access.take) if source else None
        self._recorder = Recorder(stores.journal, clock=clock)
        self._approvals = Approvals(
            stores.approvals,
            stores.changes,
            self._recorder,
            approvers=self.access.approvers,
            clock=clock,
        )
        ratings = Ratings(stores.feedback, stores.changes, metrics, clock=clock)
        process = f"{socket.gethostname()}-{secrets.token_hex(4)}-{os.getpid()}"
        self._bells = {name: stores.bell(name, consumer=process) for name in self.adapters}
        line = Line(stores.ledger, self._bells, max_waiting=settings.limits.max_waiting)
        self._errands = Errands(settings, stores, line, has_left=self._has_left, clock=clock)
        commands = Commands(
            router,
            stores.ledger,
            stores.changes,
            self._local_only,
            memory,
            ratings,
            self._errands.reminders,
            self._errands.hand_overs,
        )
        self.inbox = BotInbox(
            self.access.gate,
            line,
            stores.changes,
            commands,
            ratings,
            Languages(settings),
            self._approvals,
            self._errands.hand_overs,
            self._errands.reminders,
            metrics,
            max_chars=settings.limits.max_message_chars,
            notify=self._notify,
            clock=clock,
        )
        self._recaps = Recaps(
            stores.memory, stores.ledger, Summarizer(router), self._local_only, metrics
        )
        self._rule_of = rule_of = support_of(settings.channels, settings.channel_defaults)
        self._support = (
            Support(
                knowledge,
                rule_of,
                self._errands.hand_overs.has_team,
                Rewriter(router) if settings.roles.small else None,
            )
            if knowledge
            else None
        )
        toolbox = toolbox_of(settings, more_tools, with_knowledge=knowledge is not None)
        self._runner = None if role == "intake" else self._turn_runner(commands, toolbox, ended)

    def _turn_runner(
        self, commands: Commands, toolbox: Toolbox, ended: Callable[[Event, Ending], None]
    ) -> TurnRunner:
        settings, stores = self.settings, self.stores
        limits = PlanLimits(
            max_steps=settings.planner.max_steps,
            max_seconds=settings.planner.turn_timeout_s,
            max_answer_tokens=settings.planner.max_answer_tokens,
            first_token_timeout_s=settings.planner.first_token_timeout_s,
            gap_timeout_s=settings.planner.gap_timeout_s,
        )
        persona = settings.planner.persona
        tell_prompt_size(toolbox, persona)
        attachments = AttachmentReader(
            stores.blobs,
            Eyes(self.router),
            max_bytes=settings.limits.max_attachment_bytes,
            max_count=settings.limits.max_attachments,
            max_document_tokens=settings.limits.max_document_tokens,
            sandbox=self.sandbox,
        )
        answerer = Answerer(
            ledger=stores.ledger,
            facts=stores.facts,
            planner=Planner(
                self.router, toolbox, limits, persona=persona, grants=self.access.granted
            ),
            attachments=attachments,
            commands=commands,
            metrics=self.metrics,
            max_deaths=settings.turns.max_deaths,
            local_only=self._local_only,
            budget=Budget(
                token_limits(settings.budget),
                stores.tally,
                now=self._now,
                counted=self.metrics.budget_spent,
            ),
            quotas=Quotas(settings.budget, stores.tally, now=self._now),
            approvals=self._approvals,
            tasks=Tasks(
                memory=stores.memory,
                attachments=attachments,
                reminders=self._errands.reminders,
                hand_overs=self._errands.hand_overs,
                support=self._support,
                persona_of=self._persona_of,
                zone_of=self._errands.zone_of,
                clock=self._clock,
            ),
            recorder=self._recorder,
            support=self._support,
            mode_of=lambda channel: self._rule_of(channel).mode,
            admits=self.access.admits,
            clock=self._clock,
        )
        return TurnRunner(
            adapters=self.adapters,
            ledger=stores.ledger,
            answerer=answerer,
            delivery=Delivery(
                stores.ledger, stores.changes, stores.memory, self.metrics, clock=self._clock
            ),
            metrics=self.metrics,
            max_deaths=settings.turns.max_deaths,
            max_parts=settings.limits.max_parts,
            recorder=self._recorder,
            recaps=self._recaps,
            paused=self.paused,
            ended=ended,
            clock=self._clock,
        )

    def _persona_of(self, channel: str) -> str:
        """The channel's own behind that of the whole bot."""
        own = self._rule_of(channel).persona
        return f"{self.settings.planner.persona}\n{own}".strip() if own else ""

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), UTC)

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop`, then let running turns end; raises `AdapterError` when every
        platform refused us."""
        async with asyncio.TaskGroup() as group:
            listening = [
                group.create_task(self._listen(adapter, stop), name=f"adapter.{name}")
                for name, adapter in self.adapters.items()
            ]
            await (self._take_in(stop) if self.role == "intake" else self.work(stop))
            for task in listening:
                task.cancel()
        if self._failed and len(self._failed) == len(self.adapters):
            raise self._failed[0]

    def connected(self) -> frozenset[str]:
        """The adapters that have a session now."""
        return frozenset(name for name in self._listening if self.adapters[name].connected)

    def warnings(self) -> dict[str, str]:
        """What adapters say is wrong, though they serve others."""
        found: dict[str, str] = {}
        for adapter in self.adapters.values():
            found |= getattr(adapter, "warnings", {})
        return found

    def paused(self, adapter: str, tenant: str) -> str:
        """Why the platform lets nothing be said to a tenant, or nothing."""
        asked = getattr(self.adapters.get(adapter), "paused", None)
        return asked(tenant) if asked is not None else ""

    def _has_left(self, adapter: str, tenant: str) -> bool:
        asked = getattr(self.adapters.get(adapter), "has_left", None)
        return asked is not None and bool(asked(tenant))

    async def work(self, stop: asyncio.Event) -> None:
        """Answer what is in the ledger until `stop`, without listening for more."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            beside = [
                *self._rereading(group),
                group.create_task(self.router.keep_probing(), name="models.probe"),
                group.create_task(self._recaps.run(), name="memory.recaps"),
                *self._errands.begin(group, tuple(self.adapters)),
            ]
            for name in self.adapters:
                group.create_task(self._worker(name).run(stop), name=f"worker.{name}")
            await stop.wait()
            self.inbox.close()
            for task in beside:
                task.cancel()

    async def _take_in(self, stop: asyncio.Event) -> None:
        """Store what comes in until `stop`; answering is left to the workers."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            beside = self._rereading(group)
            await stop.wait()
            self.inbox.close()
            for task in beside:
                task.cancel()
            self._group = None  # what is told from here on, nobody would wait for

    def _rereading(self, group: asyncio.TaskGroup) -> list[asyncio.Task[None]]:
        if self._reread is None:
            return []
        return [group.create_task(self._reread.run(), name="settings.reread")]

    async def _listen(self, adapter: ChatAdapter, stop: asyncio.Event) -> None:
        """Keep one platform connected; its trouble is never another's."""
        pause_s = _RESTART_PAUSE_S
        while not stop.is_set():
            self._listening.add(adapter.name)
            try:
                await (adapter.answer_only() if self.role == "worker" else adapter.run(self.inbox))
                stop.set()  # the person at the terminal left
            except AdapterError as error:
                log.error("adapter.refused", adapter=adapter.name, error=str(error))
                self._refused(error, stop)
                return
            except Exception as error:  # a lane of its own: the others go on
                log.exception("adapter.crashed", adapter=adapter.name, error=type(error).__name__)
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            finally:
                self._listening.discard(adapter.name)

    def _refused(self, error: AdapterError, stop: asyncio.Event) -> None:
        self._failed.append(error)
        if len(self._failed) == len(self.adapters):
            stop.set()

    def _worker(self, name: str) -> Worker:
        if self._runner is None:
            raise RuntimeError("an intake has no workers")
        turns = self.settings.turns
        return Worker(
            adapter=name,
            bell=self._bells[name],
            ledger=self.stores.ledger,
            runner=self._runner,
            concurrent=turns.workers,
            lease_s=turns.lease_s,
            renew_s=turns.renew_s,
            sweep_s=turns.sweep_s,
        )

    def _notify(self, message: Message, sentence: str) -> None:
        if self._group is not None:
            adapter = self.adapters[message.adapter]
            self._group.create_task(notify(adapter, message, sentence), name="notice")


@asynccontextmanager
async def open_bot(
    settings: Settings,
    stores: Stores,
    adapters: Iterable[ChatAdapter],
    *,
    ended: Callable[[Event, Ending], None] = lambda event, ending: None,
    metrics: Metrics | None = None,
    router: Router | None = None,
    role: ProcessRole = "all",
    source: Source | None = None,
    clock: Callable[[], float] = time.time,
) -> AsyncIterator[Bot]:
    """A bot over opened stores; its models and its sandbox are closed at the end.

    With a `source` the settings are read again when one of their files has changed; of them only
    who may do what where is taken over while the bot runs.
    """
    router = router or await open_router(settings)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(router.aclose)
        served = () if role == "intake" else await stack.enter_async_context(mcp_tools(settings))
        knowledge = None
        if role != "intake":
            knowledge = await stack.enter_async_context(open_knowledge(settings))
        bot = Bot(
            settings,
            stores,
            router,
            tuple(adapters),
            ended=ended,
            metrics=metrics or Metrics(),
            role=role,
            source=source,
            more_tools=served,
            knowledge=knowledge,
            clock=clock,
        )
        stack.push_async_callback(bot.sandbox.aclose)
        yield bot


async def open_router(settings: Settings) -> Router:
    """The configured chains; nothing is loaded yet."""
    return Router(await build_chains(settings), local_only=settings.models.local_only)
