"""`firstline knowledge`: what the bot answers from."""

from __future__ import annotations

from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any

import typer

from bot.cli_frame import ConfigOption, DataDirOption, finish, settings_of, start_logs

knowledge_app = typer.Typer(help="The documents that the bot answers from.", no_args_is_help=True)
TopicOption = Annotated[
    str, typer.Option("--topic", help="The set it belongs to, as channels name it.")
]


@knowledge_app.command("add")
def add(
    where: Annotated[str, typer.Argument(help="A folder, a file, or the address of a site.")],
    topic: TopicOption = "default",
    url: Annotated[
        str,
        typer.Option(
            "--url", help="Where people open these files: the address before their names."
        ),
    ] = "",
    reader: Annotated[
        list[str] | None,
        typer.Option("--reader", help='Who may read it, such as "tenant:slack:T1"; else everyone.'),
    ] = None,
    uncurated: Annotated[
        bool, typer.Option("--uncurated", help="Strangers write it: nothing is done because of it.")
    ] = False,
    in_house: Annotated[
        bool, typer.Option("--in-house", help="The site lies in your own network.")
    ] = False,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Read it, or what has changed in it since; what is gone is dropped."""
    settings = settings_of(config, data_dir=data_dir)
    start_logs(settings, quiet="error")

    def start() -> Coroutine[Any, Any, int]:
        from bot.knowledge_commands import Added, add_source

        added = Added(where, topic, url, reader or (), not uncurated, in_house)
        return add_source(settings, added)

    finish(start)


@knowledge_app.command("list")
def list_sources(config: ConfigOption = None, data_dir: DataDirOption = None) -> None:
    """Every source, with its documents and passages."""
    settings = settings_of(config, data_dir=data_dir)
    start_logs(settings, quiet="error")

    def start() -> Coroutine[Any, Any, int]:
        from bot.knowledge_commands import print_sources

        return print_sources(settings)

    finish(start)


@knowledge_app.command("remove")
def remove(
    name: Annotated[str, typer.Argument(help="A source, as `list` names it.")],
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Drop a source with all its documents."""
    settings = settings_of(config, data_dir=data_dir)
    start_logs(settings, quiet="error")

    def start() -> Coroutine[Any, Any, int]:
        from bot.knowledge_commands import remove_source

        return remove_source(settings, name)

    finish(start)


@knowledge_app.command("search")
def search(
    query: Annotated[str, typer.Argument(help="A question.")],
    topic: Annotated[str, typer.Option("--topic", help="Only this set.")] = "",
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """The passages found for a question, and whether it would be answered."""
    settings = settings_of(config, data_dir=data_dir)
    start_logs(settings, quiet="error")

    def start() -> Coroutine[Any, Any, int]:
        from bot.knowledge_commands import print_found

        return print_found(settings, query, topic=topic)

    finish(start)


def evaluate(
    questions: Annotated[
        Path, typer.Argument(help="Lines of a question, a tab, and its documents or `-`.")
    ],
    plot: Annotated[
        Path | None, typer.Option("--plot", help="Draw the figures to this PNG file.")
    ] = None,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """How well your documents are found for your questions, and what is refused."""
    settings = settings_of(config, data_dir=data_dir)
    start_logs(settings, quiet="error")

    def start() -> Coroutine[Any, Any, int]:
        from bot.eval_commands import print_evals

        return print_evals(settings, questions, plot=plot)

    finish(start)
