"""One plan's state: what was asked, done, said and noted so far, and how it ends."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import msgspec

from agents.budget import Allowance
from agents.events import CallsReturned, PlanEnded, StepPlanned, Wanted
from agents.ports import Capabilities, PromptMessage, Usage
from agents.prompts.planner import step_text
from agents.turns import Called, EndState, Returned, Text, Turn
from agents.vision import TEXT_ONLY_MARK
from agents.window import Window, result_message
from tools.contract import JsonSchema, Tool, ToolCall, ToolContext, ToolResult
from tools.identity import ConversationKey, Place, Principal
from tools.labels import Integrity, Label, join_labels

_MAYBE_DONE = (
    "Error: a restart came between; it may or may not have been done. Do not repeat it: "
    "tell the person and ask."
)


@dataclass(frozen=True, slots=True)
class PlanLimits:
    max_steps: int = 8
    max_seconds: float = 180.0
    max_answer_tokens: int = 1024
    max_answer_chars: int = 6000
    first_token_timeout_s: float = 30.0
    gap_timeout_s: float = 20.0


@dataclass(frozen=True, slots=True)
class PlanTask:
    """One question, with all it may be answered from."""

    conversation: ConversationKey
    principal: Principal
    place: Place
    history: tuple[Turn, ...]
    question: Turn
    turn_id: str
    now: datetime
    context_for: Callable[[ToolCall], ToolContext]
    pin: str | None = None
    local_only: bool = False
    allowance: Allowance | None = None
    summary: str = ""
    summary_label: Label = field(default_factory=Label)
    about: str = ""  # what the person wants known about them, in their own words
    about_label: Label = field(default_factory=Label)
    resume: tuple[StepPlanned | CallsReturned, ...] = ()
    persona: str = ""  # in the place of the planner's own
    first: tuple[ToolCall, ...] = ()  # pure reads that are made before the model is asked
    pressed: StepPlanned | None = None  # a person agreed to exactly these calls; they come next


@dataclass(frozen=True, slots=True)
class Protocol:
    """What the model is told and held to, made once for a set of tools."""

    tools: tuple[Tool, ...]
    head: tuple[PromptMessage, ...]
    schema: JsonSchema
    final_schema: JsonSchema


STATED = "results as the tools gave them: the demonstration model only chose the tools"


@dataclass(slots=True)
class PlanRun:
    """The state of one plan."""

    task: PlanTask
    protocol: Protocol
    deadline: float
    label: Label = field(default_factory=Label)
    step: int = 0
    messages: list[PromptMessage] = field(default_factory=list)  # after the question
    turns: list[Turn] = field(default_factory=list)
    steps: list[StepPlanned | CallsReturned] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    made: dict[bytes, ToolResult] = field(default_factory=dict)
    windows: dict[str, Window] = field(default_factory=dict)  # by backend
    usage: Usage = field(default_factory=Usage)
    route: str = ""
    given_up: dict[str, str] = field(default_factory=dict)  # routes that could not serve, and why
    capabilities: Capabilities | None = None
    must_finish: bool = False
    raw: str = ""
    shown: str = ""
    whole: bool = False  # the answer's string was read to its end
    limit: str = ""  # what ended the generation: "length" or "time"

    def __post_init__(self) -> None:
        question, history = self.task.question, self.task.history
        labels = (turn.label for turn in history)
        known = (self.task.summary_label, self.task.about_label)
        self.label = join_labels((question.label, *known, *labels))
        if any(not image.seen for image in question.images):
            self.note("no vision model could look at the picture")
        elif any(image.seen.startswith(TEXT_ONLY_MARK) for image in question.images):
            self.note("only the text in the picture was read; no vision model is set up")

    def note(self, text: str) -> None:
        """A remark for the reply's footer, made once."""
        if text not in self.notes:
            self.notes.append(text)

    @property
    def is_demonstration(self) -> bool:
        return self.capabilities is not None and self.capabilities.demonstration

    def state_results(self, returned: CallsReturned) -> str:
        """The results as the answer: a demonstration model plans, but words them wrongly."""
        self.note(STATED)
        lines = (f"- {result.name}: {result.text}" for result in returned.results)
        self.shown = "\n".join(dict.fromkeys(lines))  # it may have asked for the same twice
        return self.shown

    def gave_up(self, route: str, reason: str) -> None:
        """Kept once for each route, however many steps try it."""
        self.given_up.setdefault(route, reason)

    def spent(self, usage: Usage) -> None:
        self.usage += usage

    def fresh(self, calls: Iterable[ToolCall]) -> list[ToolCall]:
        """The calls that were not made in this turn, each once."""
        by_identity: dict[bytes, ToolCall] = {}
        for call in calls:
            by_identity.setdefault(identity(call), call)
        return [call for key, call in by_identity.items() if key not in self.made]

    def collect(self, planned: StepPlanned, ran: Sequence[ToolResult]) -> CallsReturned:
        """The step's results in the order of its calls; remembers them."""
        by_id = {result.call_id: result for result in ran}
        results = []
        for call in planned.calls:
            result = by_id.get(call.call_id) or self._not_run(call)
            self.made.setdefault(identity(call), result)
            results.append(result)
        returned = CallsReturned(planned.step, tuple(results))
        self.remember(planned, returned)
        return returned

    def _not_run(self, call: ToolCall) -> ToolResult:
        made = self.made.get(identity(call))
        if made is None:
            return ToolResult(call.call_id, call.name, _MAYBE_DONE, True)
        return ToolResult(call.call_id, call.name, made.text, made.is_error, made.label)

    def remember(self, planned: StepPlanned, returned: CallsReturned) -> None:
        """Add a step and its results to the prompt, to memory and to the label."""
        self.steps += (planned, returned)
        results = {result.call_id: result for result in returned.results}
        for call in planned.calls:
            if result := results.get(call.call_id):
                self.made.setdefault(identity(call), result)
        self.label = self.label.join(*(result.label for result in returned.results))
        calls = [(call.name, call.arguments) for call in planned.calls]
        self.messages.append(PromptMessage("assistant", step_text(calls)))
        self.messages += [result_message(result) for result in returned.results]
        said_at, turn_id = self.task.now.timestamp(), self.task.turn_id
        called = tuple(Called(call) for call in planned.calls)
        given = tuple(Returned(result) for result in returned.results)
        self.turns.append(Turn("assistant", called, self.label, said_at, turn_id))
        self.turns.append(Turn("tool", given, self.label, said_at, turn_id))

    def waits_for(self, planned: StepPlanned) -> PlanEnded:
        """The end of a plan that goes on when somebody presses."""
        wanted = Wanted(planned, tuple(self.steps), tuple(self._sources()))
        ended = self.ended("asked", "", reason="needs a press")
        return msgspec.structs.replace(ended, turns=tuple(self.turns), wanted=wanted)

    def _sources(self) -> Iterator[str]:
        """What the turn has read, as whoever wrote it named it."""
        question = self.task.question
        yield from (f"image {image.name}" for image in question.images)
        yield from (f"file {document.name}" for document in question.documents)
        yield from (f"message of {quote.user_id}" for quote in question.quotes)
        for step in self.steps:
            if isinstance(step, StepPlanned):
                for call in step.calls:
                    told = msgspec.json.encode(call.arguments).decode()
                    yield f"{call.name} {told}"

    def ended(
        self, state: EndState, text: str, *, reason: str = "", cut: bool = False
    ) -> PlanEnded:
        """The plan's last event, with everything to keep in memory."""
        if state == "answered" and self.is_demonstration:
            seen = (image.seen for image in self.task.question.images if image.seen)
            text = "\n\n".join((text, *seen))
        label = self.label.lowered_to(Integrity.USER)
        said_at, turn_id = self.task.now.timestamp(), self.task.turn_id
        answer = Turn("assistant", (Text(text),), label, said_at, turn_id)
        return PlanEnded(
            state,
            text,
            (*self.turns, answer),
            reason=reason,
            notes=self._footer(),
            cut=cut,
            usage=self.usage,
            route=self.route,
            instead_of=tuple(self.given_up.items()),
            fill=max((window.fill for window in self.windows.values()), default=0.0),
        )

    def _footer(self) -> tuple[str, ...]:
        notes = [*self.notes]
        if self.is_demonstration:
            notes.append("from the demonstration model")
        return tuple(notes)


def identity(call: ToolCall) -> bytes:
    """Equal for calls that ask for the same."""
    return call.name.encode() + msgspec.json.encode(call.arguments, order="deterministic")
