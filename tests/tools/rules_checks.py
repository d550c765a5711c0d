"""What the rules must do, as checks that run on the module itself and on each of its mutants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from typing import Any

from tools.contract import Tool, ToolCall, ToolContext
from tools.identity import Place, PlaceKind, Principal, PrincipalKind
from tools.labels import Integrity, Label

T = "slack:T1"
MEMBER = Principal(T, "U1", "member")
CHANNEL = Place(T, "private", "C1")
HERE = Label(Integrity.USER, frozenset({f"channel:{T}/C1"}))


_REASONS = {
    (0, False): "",
    (1, False): "not granted here",
    (1, True): "not granted here",
    (3, False): "it would tell others what is not theirs to read",
    (4, False): "it can't be undone",
    (4, True): "unknown effect",
    (5, False): "others wrote what was read before",
    (6, False): "the day's budget is used up",
}


async def _run(context: ToolContext, arguments: Mapping[str, Any]) -> str:
    return ""


def a_tool(effect: str, **changes: Any) -> Tool:
    return Tool("t", "A tool.", {}, _run, effect=effect, **changes)  # type: ignore[arg-type]


def check_table(rules: Any) -> None:
    """Every combination of what the rules look at, beside a table of what it must come to."""
    effects = ("read", "write", "destructive", "egress", "odd")
    flags = product((True, False), repeat=4)  # granted, fits, pressed, budget
    readers = (frozenset[str](), HERE.readers, frozenset({f"channel:{T}/C2"}))
    for (granted, fits, pressed, budget), effect, level, who in product(
        flags, effects, Integrity, readers
    ):
        asked = rules.Asked(
            a_tool(effect),
            MEMBER,
            CHANNEL,
            Label(level, who),
            misfit=None if fits else "name is missing",
            granted=granted,
            pressed=pressed,
            budget_left=budget,
        )
        leaves, theirs = effect in ("write", "destructive", "egress"), who <= HERE.readers
        table = (
            (not granted, "deny", 1),
            (not fits, "deny", 2),
            (effect == "odd", "deny", 4),
            (leaves and not theirs, "deny", 3),
            (not budget, "deny", 6),
            (effect == "destructive" and not pressed, "press", 4),
            (leaves and level is Integrity.UNTRUSTED and not pressed, "press", 5),
            (True, "allow", 0),
        )
        verdict, rule = next((verdict, rule) for holds, verdict, rule in table if holds)
        found = rules.decide(asked)
        assert (found.verdict, found.rule) == (verdict, rule), (asked, found)
        assert found.reason == ("name is missing" if rule == 2 else _REASONS[rule, effect == "odd"])


def check_grants(rules: Any) -> None:
    """What a tool declares of people and places, both needed; an unknown tool is nobody's."""
    asked = rules.Asked(a_tool("read"), MEMBER, CHANNEL, HERE)
    assert rules.decide(asked).verdict == "allow"
    assert rules.decide(replace(asked, tool=None)) == rules.Decision("deny", 1, "not granted here")
    people: tuple[PrincipalKind, ...] = ("operator", "member", "guest", "external", "bot")
    places: tuple[PlaceKind, ...] = ("dm", "private", "public", "external")
    for kind, place in product(people, places):
        may = kind in ("operator", "member") and place != "external"
        found = rules.decide(
            replace(asked, principal=Principal(T, "U1", kind), place=Place(T, place, "C1"))
        )
        assert (found.verdict == "allow") == may
    assert rules.decide(replace(asked, misfit="too long")).reason == "too long"


def check_readers(rules: Any) -> None:
    """Who asked may pass on what is theirs: their place, their workspace, themselves."""
    own = {f"channel:{T}/C1", f"tenant:{T}", f"user:{T}/U1"}
    foreign = {f"channel:{T}/C2", "tenant:slack:T2", f"user:{T}/U2", f"shared:{T}/C1"}
    for scope in own | foreign:
        label = Label(Integrity.USER, frozenset({scope}))
        assert rules.may_pass_on(label, MEMBER, CHANNEL) == (scope in own)
        beside = Label(Integrity.USER, frozenset({scope, f"tenant:{T}"}))
        assert rules.may_pass_on(beside, MEMBER, CHANNEL) == (scope in own)
    tenant = Label(Integrity.USER, frozenset({f"tenant:{T}"}))
    operator = Principal(T, "U1", "operator")
    assert rules.may_pass_on(tenant, operator, CHANNEL)
    for kind in ("guest", "external", "bot"):
        outsider = Principal(T, "U1", kind)
        assert not rules.may_pass_on(tenant, outsider, CHANNEL)
        assert rules.may_pass_on(HERE, outsider, CHANNEL)
    shared = Place(T, "external", "C1")
    assert not rules.may_pass_on(tenant, MEMBER, shared)
    assert rules.may_pass_on(Label(Integrity.USER, frozenset({f"shared:{T}/C1"})), MEMBER, shared)


def check_hash(rules: Any) -> None:
    """A press is bound to ids, names, arguments and their order; not to the order of keys."""
    one = ToolCall("1.1", "send", {"to": "a", "text": "b"})
    same = ToolCall("1.1", "send", {"text": "b", "to": "a"})
    told = rules.hash_of([one])
    assert told == rules.hash_of([same])
    assert len(told) == 64
    others = [
        [],
        [one, one],
        [ToolCall("1.2", "send", one.arguments)],
        [ToolCall("1.1", "sent", one.arguments)],
        [ToolCall("1.1", "send", {"to": "a", "text": "c"})],
        [ToolCall("1.1", "send", {"to": "a"})],
    ]
    assert len({told, *(rules.hash_of(calls) for calls in others)}) == len(others) + 1
    two = ToolCall("1.2", "read", {})
    assert rules.hash_of([one, two]) != rules.hash_of([two, one])


def check_values(rules: Any) -> None:
    """What is decided can't be changed, and nothing is pressed that nobody pressed."""
    asked = rules.Asked(a_tool("destructive"), MEMBER, CHANNEL, HERE)
    decision = rules.decide(asked)
    assert decision.verdict == "press"
    assert rules.Decision("allow").rule == 0
    for value, name in ((asked, "pressed"), (decision, "verdict")):
        try:
            setattr(value, name, True)
        except AttributeError:
            continue
        raise AssertionError(f"{name} can be changed")


CHECKS = (check_table, check_grants, check_readers, check_hash, check_values)
