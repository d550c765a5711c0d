"""From a question to what it comes to: attachments, the plan, its steps stored as they come."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace

import structlog

from adapters.chat.safe_text import visible
from adapters.chat.sentences import mark, say
from adapters.chat.types import Activity, AdapterError, Author, ChatAdapter
from adapters.stores.errors import StoreError
from adapters.stores.facts import RedisFacts, UserFacts
from adapters.stores.ledger import Ledger
from agents.budget import Budget
from agents.events import AnswerDelta, CallsReturned, PlanEnded, RouteSwitched, StepPlanned, Waiting
from agents.planner import Planner, PlanTask
from agents.turns import Returned
from bot.admission import Asker
from bot.approvals import NO_LONGER, Approvals, Refusal
from bot.attachments import AttachmentReader, ReadAttachments, Terms
from bot.channels import Mode
from bot.commands import Commands
from bot.footer import TOLD, switch_note
from bot.hand_overs import TAKEN_OVER
from bot.health import Metrics
from bot.privacy import PRIVATE_BY, LocalOnly
from bot.quotas import Quotas, Spent, What
from bot.recording import Recorder
from bot.records import Ending, Pressed, Says, encode
from bot.reminders import REMINDER
from bot.reply import GrowingReply
from bot.running import Outcome, RunningTurn
from bot.support import (
    NOT_THERE,
    SEARCH,
    Support,
    first_call,
    searched,
    verified,
)
from bot.tasks import Tasks
from tools.contract import ToolError
from tools.identity import ConversationKey

UNVOUCHED = mark("built from sources that nobody here vouches for: {sources}")
_NAMES_SHOWN, _NAME_CHARS = 4, 60
log = structlog.get_logger(__name__)


class Answerer:
    """Works out what a turn comes to; stores its steps, and neither its reply nor its end."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        facts: RedisFacts,
        planner: Planner,
        attachments: AttachmentReader,
        commands: Commands,
        metrics: Metrics,
        max_deaths: int,
        local_only: LocalOnly,
        budget: Budget,
        quotas: Quotas,
        approvals: Approvals,
        tasks: Tasks,
        recorder: Recorder,
        support: Support | None,
        mode_of: Callable[[str], Mode],
        admits: Callable[[ConversationKey, Author], bool],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._ledger, self._planner, self._facts = ledger, planner, facts
        self._attachments, self._commands, self._metrics = attachments, commands, metrics
        self._max_deaths, self._local_only, self._budget = max_deaths, local_only, budget
        self._approvals, self._admits, self._clock = approvals, admits, clock
        self._support, self._mode_of, self._tasks = support, mode_of, tasks
        self._recorder = recorder
        self._quotas = quotas

    async def outcome(
        self, turn: RunningTurn, adapter: ChatAdapter, growing: GrowingReply
    ) -> Outcome:
        """Raises `StoreError` and `AdapterError`; whatever else breaks is a failed turn."""
        if turn.claim.deaths > self._max_deaths:
            return turn.failed("crashed every worker that tried it")
        try:
            if (says := turn.last.says) is not None:
                return _said(turn, says)
            if command := self._commands.parse(turn.text):
                turn.is_command = True
                asker = Asker(turn.last.principal, is_private=False, locale=turn.locale)
                text = await self._commands.run(turn.claim.lease.key, *command, asker)
                return Outcome(Ending("answered", "command"), text)
            try:
                if turn.last.pressed is not None:
                    return await self._go_on(turn, turn.last.pressed, growing)
                return await self._plan(turn, adapter, growing)
            except Spent as spent:
                return Outcome(Ending("refused", "over the day's limit"), str(spent))
            except Refusal as refusal:
                said = (turn.plain_question(), turn.said(str(refusal)))
                return Outcome(Ending("refused", "approval"), str(refusal), (), said)
            finally:
                growing.settled()
        except (StoreError, AdapterError):
            raise
        except Exception as error:
            log.exception("turn.crashed", turn=turn.turn_id, error=type(error).__name__)
            return turn.failed(type(error).__name__)

    async def silence(self, turn: RunningTurn) -> str:
        """Why nothing is to be said, or nothing: a person has this, nobody may hear it, or nobody
        asked and the documents don't hold the answer. Raises `StoreUnavailable`."""
        person, key = turn.last.principal, turn.claim.lease.key
        if turn.last.says is not None:
            admitted = person.kind == "bot" or self._admits(
                key, Author(person.user_id, person.kind)
            )
            return "" if admitted else "not admitted any more"
        if self._commands.parse(turn.text):
            return ""
        if TAKEN_OVER in turn.claim.pins:
            return "a person has taken over"
        return await self._unasked(turn)

    async def _unasked(self, turn: RunningTurn) -> str:
        mode = self._mode_of(turn.claim.lease.key.channel)
        if mode == "off":
            return "switched off here"
        if turn.last.message.addressing != "overheard":
            return ""
        if mode == "always":
            return await self._spent_unasked(turn)
        if self._support is None or not self._support.topics(turn):
            return "no documents to be sure by"
        turn.terms = Terms(local_only=await self._is_local_only(turn))
        try:
            turn.found = await self._support.look_up(turn, turn.plain_question(), ())
        except ToolError:
            return "the documents can't be searched"
        if not turn.found.is_answerable:
            return NOT_THERE
        return await self._spent_unasked(turn)

    async def _spent_unasked(self, turn: RunningTurn) -> str:
        """Who asked nobody is not told that they may not ask."""
        try:
            await self._take(turn, "turns", 1)
        except Spent:
            return "over the day's limit"
        turn.took.add("turns")
        return ""

    async def _plan(
        self, turn: RunningTurn, adapter: ChatAdapter, growing: GrowingReply
    ) -> Outcome:
        await self._set_terms(turn, growing)
        files = [each for event in turn.events for each in event.message.attachments]
        await self._take(turn, "turns", 1)
        await self._take(turn, "bytes", sum(each.size_bytes for each in files))
        read = await self._attachments.read(
            adapter,
            turn.claim.lease,
            files,
            turn_id=turn.turn_id,
            label=turn.label,
            terms=turn.terms,
            show=growing.activity,
            locale=turn.locale,
        )
        question = turn.question(read)
        if not question.parts and not question.quotes and not question.documents:
            said = " ".join(read.refusals)
            said = said or say(turn.locale, "Your message was empty. What can I do for you?")
            return Outcome(Ending("refused", "nothing to answer"), said)
        task = self._tasks.build(turn, question, await self._known(turn))
        if self._support is not None and self._support.topics(turn):
            return await self._supported(turn, self._support, task, growing, read)
        return await self._worked_out(turn, task, growing, read)

    async def _supported(
        self,
        turn: RunningTurn,
        support: Support,
        task: PlanTask,
        growing: GrowingReply,
        read: ReadAttachments,
    ) -> Outcome:
        """Looked up before the model is asked: what the documents don't hold, it is not asked."""
        growing.activity(Activity(SEARCH, "running"))
        try:
            found = turn.found or await support.look_up(turn, task.question, task.history)
        except ToolError:
            growing.activity(Activity(SEARCH, "failed"))
            return await self._worked_out(turn, task, growing, read)
        growing.activity(Activity(SEARCH, "done"))
        if not found.is_answerable and not read.images and not task.resume:
            self._metrics.supported("not there", claims=0, held=0)
            text = support.not_there(turn, found)
            said = (task.question, turn.said(text))
            return Outcome(Ending("answered", NOT_THERE), text, read.refusals, said)
        growing.holds_text = True  # nobody reads what was not checked
        await searched(support, turn, turn.query)
        task = replace(task, first=(first_call(turn.query),))
        return await self._worked_out(turn, task, growing, read, strictly=found.is_answerable)

    async def _go_on(self, turn: RunningTurn, pressed: Pressed, growing: GrowingReply) -> Outcome:
        """Do exactly what a person agreed to, and answer; raises `Refusal`."""
        agreed = await self._approvals.agreed(turn, pressed)
        person = turn.last.principal
        if not self._admits(turn.claim.lease.key, Author(person.user_id, person.kind)):
            raise Refusal(say(turn.locale, NO_LONGER))
        await self._set_terms(turn, growing)
        task = self._tasks.build(turn, agreed.question, await self._known(turn))
        task = replace(task, resume=(*agreed.made, *task.resume), pressed=agreed.planned)
        return await self._worked_out(turn, task, growing, ReadAttachments())

    async def _take(self, turn: RunningTurn, what: What, amount: int) -> None:
        """Raises `Spent`. What a worker that died has taken is not taken again."""
        if turn.claim.deaths <= 1 and what not in turn.took:
            key, person = turn.claim.lease.key, turn.last.principal
            await self._quotas.take(what, amount, key, person, turn.locale)

    async def _set_terms(self, turn: RunningTurn, growing: GrowingReply) -> None:
        turn.terms = Terms(
            turn.claim.pins.get("vision"),
            await self._is_local_only(turn),
            self._budget.allowance(turn.claim.lease.key, turn.last.principal),
            growing.waiting,
        )

    async def _known(self, turn: RunningTurn) -> UserFacts:
        person, fields = turn.last.principal, turn.claim.facts  # the claim brings them
        return await self._facts.read(person.tenant, person.user_id, fields)

    async def _worked_out(
        self,
        turn: RunningTurn,
        task: PlanTask,
        growing: GrowingReply,
        read: ReadAttachments,
        *,
        strictly: bool = False,
    ) -> Outcome:
        ended = await self._follow(turn, task, growing)
        if turn.passages and ended.state == "answered":
            asked = task.question.text
            ended = await verified(
                self._support, turn, ended, asked, strictly=strictly, metrics=self._metrics
            )
        if ended.wanted is not None:
            await self._take(turn, "presses", 1)
            await self._recorder.asked(turn, ended.wanted)
            turn.is_recorded = True
            card = await self._approvals.ask(turn, task.question, ended.wanted)
            said = (task.question, *ended.turns, turn.said(card))
            images = [image for entry in (*task.history, task.question) for image in entry.images]
            shown = await self._attachments.pictures(
                turn.claim.lease.key, images, locale=turn.locale
            )
            return Outcome(Ending("asked", ended.reason), card, read.refusals, said, shown)
        told = turn.claim.pins.get(TOLD, "")
        switch, now_told = switch_note(ended, told, turn.locale)
        if now_told != told:
            await self._ledger.pin(turn.claim.lease.key, TOLD, now_told or None)
        text = ended.text
        if ended.state != "answered":
            ours = say(turn.locale, text) if text else text
            named = say(turn.locale, "(turn {turn_id})", turn_id=turn.turn_id)
            text = f"{ours} {named}{_seen(read, turn.locale)}"
        return Outcome(
            Ending(ended.state, ended.reason),
            text,
            (
                *read.refusals,
                *(say(turn.locale, note) for note in ended.notes),
                *self._unvouched(task, ended, turn.locale),
                *filter(None, (switch,)),
            ),
            (task.question, *ended.turns),
        )

    def _unvouched(self, task: PlanTask, ended: PlanEnded, locale: str) -> list[str]:
        """A note that names what strangers wrote and the answer may rest on (row G11)."""
        if ended.state != "answered":
            return []
        files = [each.name for each in task.question.documents]
        asked = [
            part.result.name
            for turn in ended.turns
            for part in turn.parts
            if isinstance(part, Returned) and not part.result.is_error
        ]
        found = list(dict.fromkeys((*files, *filter(self._planner.is_foreign, asked))))
        if not found:
            return []
        shown = ", ".join(visible(name)[:_NAME_CHARS] for name in found[:_NAMES_SHOWN])
        return [say(locale, UNVOUCHED, sources=shown)]

    async def _is_local_only(self, turn: RunningTurn) -> bool:
        """Decided before any model is asked; who speaks once binds what others say later."""
        key, pins = turn.claim.lease.key, turn.claim.pins
        user_id = turn.last.principal.user_id
        if self._local_only.names(user_id) and not self._local_only.is_ruled(key, pins):
            await self._ledger.pin(key, PRIVATE_BY, user_id)
        return self._local_only(key, pins, user_id)

    async def _follow(self, turn: RunningTurn, task: PlanTask, growing: GrowingReply) -> PlanEnded:
        """Store every step before the plan goes on, and show it."""
        lease, held = turn.claim.lease, list[bytes]()
        async with aclosing(self._planner.run(task)) as events:
            async for event in events:
                match event:
                    case AnswerDelta():
                        growing.add_text(event.text)
                    case StepPlanned():
                        growing.planned(event)
                        held.append(encode(event))
                        if _matters(event) or self._planner.has_effect(event.calls):
                            await self._recorder.calls(turn, event)
                            turn.is_recorded = True
                        if self._planner.has_effect(event.calls):
                            await self._ledger.add_steps(lease, held, has_effect=True)
                            held.clear()
                    case CallsReturned():
                        growing.returned(event)
                        self._metrics.tools_called(event.results)
                        # Pure reads may be planned anew, so plan and results travel together.
                        await self._ledger.add_steps(lease, [*held, encode(event)])
                        held.clear()
                    case Waiting():
                        growing.waiting(event.position)
                    case RouteSwitched():
                        log.info(
                            "route.switched", role=event.role, to=event.to_route, why=event.reason
                        )
                    case PlanEnded():
                        self._metrics.tokens(event.route, event.usage)
                        turn.usage, turn.fill = event.usage, event.fill
                        return event
        raise RuntimeError("the plan ended without its last event")


def _said(turn: RunningTurn, says: Says) -> Outcome:
    """The bot's own words; the team's channel does not remember what was said elsewhere."""
    turn.is_command = True
    text = say(turn.locale, REMINDER, text=says.text) if says.kind == "reminder" else says.text
    memory = () if says.kind == "hand_over" else (turn.said(text),)
    return Outcome(Ending("answered", says.kind), text, (), memory)


def _matters(planned: StepPlanned) -> bool:
    return any(decision.verdict != "allow" for decision in planned.decisions)


def _seen(read: ReadAttachments, locale: str) -> str:
    """What vision found, for a person whose question about it could not be answered."""
    unnamed = say(locale, "The image")
    found = [f"{image.name or unnamed}: {image.seen}" for image in read.images if image.seen]
    return "".join(f"\n\n{text}" for text in found)
