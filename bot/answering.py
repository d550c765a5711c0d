"""From a question to what it comes to: attachments, the plan, its steps stored as they come."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime, tzinfo

import structlog

from adapters.chat.safe_text import visible
from adapters.chat.sentences import mark, say
from adapters.chat.types import AdapterError, Author, ChatAdapter
from adapters.stores.errors import StoreError
from adapters.stores.facts import RedisFacts, UserFacts
from adapters.stores.ledger import Ledger
from adapters.stores.memory import RedisMemory, UnknownFormat, decode_summary, decode_turns
from agents.budget import Budget
from agents.events import AnswerDelta, CallsReturned, PlanEnded, RouteSwitched, StepPlanned, Waiting
from agents.planner import Planner, PlanTask
from agents.summary import Summary, flowing
from agents.turns import Returned, Turn
from bot.admission import Asker
from bot.approvals import NO_LONGER, Approvals, Refusal
from bot.attachments import AttachmentReader, ReadAttachments, Terms
from bot.commands import Commands
from bot.footer import TOLD, switch_note
from bot.hand_overs import TAKEN_OVER, HandOvers
from bot.health import Metrics
from bot.memory_commands import about
from bot.privacy import PRIVATE_BY, LocalOnly
from bot.quotas import Quotas, Spent, What
from bot.recording import Recorder
from bot.records import Ending, Pressed, Says, decode_step, encode
from bot.reminders import REMINDER, Reminders
from bot.reply import GrowingReply
from bot.running import Outcome, RunningTurn
from tools.contract import Found, Opened, Seen, ToolCall, ToolContext
from tools.identity import ConversationKey
from tools.labels import Label, audience_of

UNVOUCHED = mark("built from sources that nobody here vouches for: {sources}")
_NAMES_SHOWN, _NAME_CHARS = 4, 60
log = structlog.get_logger(__name__)


class Answerer:
    """Works out what a turn comes to; stores its steps, and neither its reply nor its end."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        memory: RedisMemory,
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
        reminders: Reminders,
        hand_overs: HandOvers,
        recorder: Recorder,
        admits: Callable[[ConversationKey, Author], bool],
        zone_of: Callable[[str], tzinfo] = lambda channel: UTC,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._ledger, self._memory, self._planner, self._facts = ledger, memory, planner, facts
        self._attachments, self._commands, self._metrics = attachments, commands, metrics
        self._max_deaths, self._local_only, self._budget = max_deaths, local_only, budget
        self._approvals, self._admits, self._clock = approvals, admits, clock
        self._zone_of = zone_of
        self._recorder = recorder
        self._quotas = quotas
        self._reminders, self._hand_overs = reminders, hand_overs

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

    def silence(self, turn: RunningTurn) -> str:
        """Why nothing is to be said, or nothing: a person has this, or nobody may hear it."""
        person, key = turn.last.principal, turn.claim.lease.key
        if turn.last.says is not None:
            admitted = person.kind == "bot" or self._admits(
                key, Author(person.user_id, person.kind)
            )
            return "" if admitted else "not admitted any more"
        if TAKEN_OVER not in turn.claim.pins or self._commands.parse(turn.text):
            return ""
        return "a person has taken over"

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
        task = self._task(turn, question, await self._known(turn))
        return await self._worked_out(turn, task, growing, read)

    async def _go_on(self, turn: RunningTurn, pressed: Pressed, growing: GrowingReply) -> Outcome:
        """Do exactly what a person agreed to, and answer; raises `Refusal`."""
        agreed = await self._approvals.agreed(turn, pressed)
        person = turn.last.principal
        if not self._admits(turn.claim.lease.key, Author(person.user_id, person.kind)):
            raise Refusal(say(turn.locale, NO_LONGER))
        await self._set_terms(turn, growing)
        task = self._task(turn, agreed.question, await self._known(turn))
        task = replace(task, resume=(*agreed.made, *task.resume), pressed=agreed.planned)
        return await self._worked_out(turn, task, growing, ReadAttachments())

    async def _take(self, turn: RunningTurn, what: What, amount: int) -> None:
        """Raises `Spent`. What a worker that died has taken is not taken again."""
        if turn.claim.deaths <= 1:
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
        self, turn: RunningTurn, task: PlanTask, growing: GrowingReply, read: ReadAttachments
    ) -> Outcome:
        ended = await self._follow(turn, task, growing)
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

    def _task(self, turn: RunningTurn, question: Turn, known: UserFacts) -> PlanTask:
        key, audience = turn.claim.lease.key, audience_of(turn.last.place, turn.last.principal)
        summary = _summary(turn, audience)
        history = _history(turn, audience)
        told, told_label = about(known, turn.last.place, audience)
        images = [image for entry in (*history, question) for image in entry.images]
        # The newest turn's first, as its prompt numbers them.
        documents = [each for entry in (question, *reversed(history)) for each in entry.documents]

        async def search(query: str, limit: int) -> list[Found]:
            return list(await self._memory.search(key, query, limit, audience=audience))

        async def look(image: int, question: str) -> Seen:
            return await self._attachments.look(key, images, image, question, terms=turn.terms)

        async def open_document(document: int) -> Opened:
            return await self._attachments.opened(key, documents, document)

        def context_for(call: ToolCall) -> ToolContext:
            return ToolContext(
                principal=turn.last.principal,
                place=turn.last.place,
                conversation=key,
                call_key=f"{turn.turn_id}:{call.call_id}",
                now=lambda: datetime.fromtimestamp(self._clock(), UTC),
                search=search,
                look=look,
                open_document=open_document,
                remind=self._reminders.setter(turn, f"{turn.turn_id}.{call.call_id}"),
                hand_over=self._hand_overs.caller(turn),
                zone=self._zone_of(key.channel),
            )

        return PlanTask(
            conversation=key,
            principal=turn.last.principal,
            place=turn.last.place,
            history=history,
            question=question,
            pin=turn.claim.pins.get("planner"),
            local_only=turn.terms.local_only,
            allowance=turn.terms.allowance,
            turn_id=turn.turn_id,
            now=datetime.fromtimestamp(self._clock(), UTC),
            context_for=context_for,
            summary=summary.text if summary else "",
            summary_label=summary.label if summary else Label(),
            about=told,
            about_label=told_label,
            resume=tuple(decode_step(record) for record in turn.claim.steps),
        )


def _said(turn: RunningTurn, says: Says) -> Outcome:
    """The bot's own words; the team's channel does not remember what was said elsewhere."""
    turn.is_command = True
    text = say(turn.locale, REMINDER, text=says.text) if says.kind == "reminder" else says.text
    memory = () if says.kind == "hand_over" else (turn.said(text),)
    return Outcome(Ending("answered", says.kind), text, (), memory)


def _matters(planned: StepPlanned) -> bool:
    return any(decision.verdict != "allow" for decision in planned.decisions)


def _history(turn: RunningTurn, audience: str) -> tuple[Turn, ...]:
    """What was said before and may be repeated here; an answer that is to be replaced was never
    given."""
    replaced = turn.last.replaces
    turns = decode_turns(turn.claim.memory)
    if replaced is not None:
        turns = tuple(each for each in turns if each.turn_id != replaced.turn_id)
    told = flowing(turns, audience)
    if len(told) < len(turns):
        log.info("memory.withheld", turn=turn.turn_id, entries=len(turns) - len(told))
    return told


def _summary(turn: RunningTurn, audience: str) -> Summary | None:
    try:
        summary = decode_summary(turn.claim.recap.record)
    except UnknownFormat:
        return None  # told by the reader, and left as it is
    if summary is not None and not summary.label.may_flow_to(audience):
        log.info("memory.withheld", turn=turn.turn_id, recap=True)
        return None
    return summary


def _seen(read: ReadAttachments, locale: str) -> str:
    """What vision found, for a person whose question about it could not be answered."""
    unnamed = say(locale, "The image")
    found = [f"{image.name or unnamed}: {image.seen}" for image in read.images if image.seen]
    return "".join(f"\n\n{text}" for text in found)
