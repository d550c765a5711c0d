"""Each language through the inbox: a refusal, a command, a failure; whose language counts."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from adapters.chat.commands import COMMANDS
from adapters.chat.sentences import LANGUAGES
from adapters.chat.types import Author, Command
from adapters.models.scripted import ScriptedBackend
from adapters.models.scripted_replies import Fail
from agents.errors import RouteRetired
from bot.settings import Settings
from tests.bot.test_bot import Chat, bot_with, message, settings_in, until

REFUSED = {
    "en": "You are not allowed",
    "de": "Du darfst diesen Bot",
    "fr": "Vous n'êtes pas autorisé",
    "es": "No tienes permiso",
    "pt": "Não tem permissão",
    "zh": "你无权",
    "ja": "ここでこのボットを使う許可がありません",
}
RESET = {
    "en": "Forgotten. The next",
    "de": "Vergessen. Die nächste",
    "fr": "Oublié. Le prochain",
    "es": "Olvidado. El próximo",
    "pt": "Esquecido. A próxima",
    "zh": "已忘记。下一条",
    "ja": "忘れました。次の",
}
NO_MODEL = {
    "en": "No model can answer just now",
    "de": "Gerade kann kein Modell",
    "fr": "Aucun modèle ne peut",
    "es": "Ningún modelo puede",
    "pt": "Nenhum modelo pode",
    "zh": "现在没有模型",
    "ja": "今は答えられるモデル",
}


async def refused(settings: Settings, locale: str) -> str:
    key = message("").conversation
    async with bot_with(Chat(), settings) as (bot, _):
        stranger = Author("x", "external")
        return await bot.inbox.command(Command("help", "", "browser", key, stranger, locale))


@pytest.mark.parametrize("language", LANGUAGES)
async def test_a_refusal_a_command_and_a_failure_come_in_the_persons_language(
    tmp_path: Path, language: str
) -> None:
    chat, asked = Chat(), msgspec.structs.replace(message("Hello?"), locale=f"{language}-XX")
    broken = ScriptedBackend(
        "scripted", lambda request: Fail(RouteRetired("scripted", "gone", "another"))
    )
    reset = Command("reset", "", "browser", asked.conversation, asked.author, asked.locale)
    stranger = msgspec.structs.replace(reset, author=Author("x", "external"))
    async with bot_with(chat, settings_in(tmp_path), broken) as (bot, stop):
        said = [await bot.inbox.command(each) for each in (stranger, reset)]
        async with asyncio.TaskGroup() as group:
            group.create_task(bot.run(stop))
            await bot.inbox.accept(asked)
            await until(lambda: chat.delivered)
            stop.set()
    [told] = chat.delivered["t1-1"]

    assert said[0].startswith(REFUSED[language])
    assert said[1].startswith(RESET[language])
    assert told.startswith(NO_MODEL[language])


async def test_the_person_comes_before_the_channel_and_the_channel_before_the_bot(
    tmp_path: Path,
) -> None:
    usual = settings_in(tmp_path, language="fr")
    german = settings_in(tmp_path, language="fr", channels=[{"id": "C1", "language": "de"}])
    in_channel = Command(
        "help",
        "",
        "browser",
        msgspec.structs.replace(message("").conversation, place="public", channel="C1"),
        Author("x", "external"),
    )
    async with bot_with(Chat(), german) as (bot, _):
        of_channel = await bot.inbox.command(in_channel)
        own = await bot.inbox.command(msgspec.structs.replace(in_channel, locale="ja"))
        unknown = await bot.inbox.command(msgspec.structs.replace(in_channel, locale="it"))

    assert of_channel.startswith(REFUSED["de"])
    assert own.startswith(REFUSED["ja"])
    assert unknown.startswith(REFUSED["de"])
    assert (await refused(usual, "")).startswith(REFUSED["fr"])


async def test_a_drill_finds_the_turn_id_in_english(tmp_path: Path) -> None:
    def crash(request: object) -> Fail:
        raise ZeroDivisionError

    chat = Chat()
    backend = ScriptedBackend("scripted", crash)
    settings = settings_in(tmp_path)
    async with bot_with(chat, settings, backend) as (bot, stop), asyncio.TaskGroup() as group:
        group.create_task(bot.run(stop))
        await bot.inbox.accept(message("Hello?"))
        await until(lambda: chat.delivered)
        stop.set()

    [told] = chat.delivered["t1-1"]
    assert "if it happens again, tell my operator the turn id " in told


@pytest.mark.parametrize("language", LANGUAGES)
async def test_the_list_of_commands_has_each_of_them(tmp_path: Path, language: str) -> None:
    asked = message("")
    command = Command("help", "", "browser", asked.conversation, asked.author, language)
    async with bot_with(Chat(), settings_in(tmp_path)) as (bot, _):
        told = await bot.inbox.command(command)

    assert told.count("\n- `") == len(COMMANDS)
    assert "- `private [on|off]`: " in told
