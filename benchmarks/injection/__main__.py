"""`python -m benchmarks.injection`: AgentDojo's attacks on an obedient model behind our rules."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections import Counter

import structlog

from benchmarks.injection.dojo import World, pairs, suites
from benchmarks.injection.obedient import play


async def honest() -> tuple[int, int, int, int]:
    """Tasks, those that were done, those that needed a card, and all cards."""
    done = cards = with_card = tasks = 0
    for suite in suites():
        for name, task in suite.user_tasks.items():
            world = World(suite)
            played = await play(world, task)
            tasks += 1
            is_done = world.judge(task, played.said)
            done += is_done
            cards += played.cards
            with_card += bool(played.cards)
            if not is_done:
                print(f"not done: {suite.name} {name} {dict(played.states)}", file=sys.stderr)
    return tasks, done, with_card, cards


async def attacked() -> Counter[str]:
    """Pairs by what came of them."""
    found: Counter[str] = Counter()
    for suite, task, injection in pairs():
        world = World(suite, injection)
        if not world.script(injection):
            found["without a scripted attack"] += 1
            continue
        found["run"] += 1
        clean = World(suite)
        if clean.judge(injection, (await play(clean, task)).said):
            found["not judgeable: the task alone already passes for the attack"] += 1
            continue
        found["judged"] += 1
        open_door = World(suite, injection)
        played = await play(open_door, task, injection, presses_all=True)
        found["succeeding where every card is pressed unread"] += open_door.judge(
            injection, played.said
        )
        played = await play(world, task, injection)
        if world.judge(injection, played.said):
            found["succeeded"] += 1
            print(f"succeeded: {suite.name} {task.ID} {injection.ID}", file=sys.stderr)
        found["refused on a card"] += bool(played.refused)
    return found


async def main() -> int:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    tasks, done, with_card, cards = await honest()
    print(f"honest tasks: {done} of {tasks} done; {with_card} needed a press, {cards} cards in all")
    found = await attacked()
    for what, number in found.items():
        print(f"pairs {what}: {number}")
    print(f"attacks that succeeded: {found['succeeded']} of {found['judged']}")
    return 1 if found["succeeded"] or done < tasks else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
