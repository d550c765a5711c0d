from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from bot.settings import Settings, SettingsError, load_settings, secret_file_warnings

SECRET = "xoxb-canary-7Jq2pVt9"
APP = "xapp-canary-4Rk8wZs1"

NUMBERS = (
    *(f"planner.{name}" for name in ("max_steps", "max_answer_tokens", "turn_timeout_s")),
    *(f"planner.{name}" for name in ("gap_timeout_s", "first_token_timeout_s")),
    *(f"limits.{name}" for name in ("max_message_chars", "max_attachment_bytes", "max_parts")),
    *(f"limits.{name}" for name in ("max_waiting", "max_attachments")),
    *(f"turns.{name}" for name in ("lease_s", "renew_s", "workers", "max_deaths", "sweep_s")),
)
SECTIONS = ("planner", "redis", "slack", "models", "web")
WRONG_FIELDS: list[tuple[str, Any]] = [
    *((name, bad) for name in NUMBERS for bad in (-1, SECRET, None, [SECRET], 10**12)),
    *((name, bad) for name in SECTIONS for bad in (SECRET, 3, [SECRET])),
    ("planner.turn_timeout_s", float("nan")),
    ("log_level", SECRET),
    ("log_format", SECRET),
    ("redis.url", f"http://:{SECRET}@host"),
    ("redis.prefix", f"{SECRET} !"),
    ("slack.bot_token", f"x{SECRET}"),
    ("slack.app_token", SECRET),
    ("slack.api_url", SECRET),
    ("slack.api_url", f"https://u:{SECRET}@host"),
    ("slack.allow.users", [f"@{SECRET}"]),
    ("slack.allow.channels", ["U123"]),
    ("slack.allow.guests", SECRET),
    ("slack.tokn", SECRET),
    ("discord.allow.users", ["bob"]),
    ("discord.token", 5),
    ("discord.api_url", "discord.com"),
    ("web.host", "0.0.0.0"),
    ("web.host", "192.168.1.9"),
    ("web.port", 70_000),
    ("web.enabled", SECRET),
    ("tools.file", f"/no/such/{SECRET}"),
    ("tools.fil", "x"),
    ("roles.planner", [SECRET]),
    ("models.routes.a", {"backend": SECRET}),
    ("models.routes.a", {"model": SECRET}),
    ("models.routes.a", {"backend": "openai_api", "api_key": SECRET}),
    ("models.routes.a", {"backend": "openai_api", "base_url": "http://h", "api_key_env": SECRET}),
    ("models.routes.a", {"backend": "openvino"}),
    ("redis.urll", SECRET),
]


def test_the_list_of_wrong_settings_is_long_enough() -> None:
    assert len(WRONG_FIELDS) >= 60


@pytest.mark.parametrize(("field", "value"), WRONG_FIELDS)
def test_a_wrong_field_is_named_and_its_value_never_is(field: str, value: Any) -> None:
    with pytest.raises(SettingsError) as refusal:
        load_settings(environ={}, overrides={field: value})

    said = str(refusal.value)
    assert field.rpartition(".")[0] in said
    assert "canary" not in said
    assert "canary" not in repr(refusal.value)
    assert "\n" not in said


@given(
    name=st.from_regex(r"[a-z_]{1,12}(\.[a-z_]{1,12}){0,2}", fullmatch=True),
    tail=st.text(min_size=4, max_size=30),
)
@hypothesis_settings(max_examples=150, deadline=None)
def test_no_secret_leaves_through_an_error_whatever_is_wrong(name: str, tail: str) -> None:
    value = f"canary-{tail}"
    refusal = ""
    try:
        load_settings(environ={}, overrides={name: value})
    except SettingsError as error:
        refusal = f"{error} {error!r}"
    assert value not in refusal


def test_secrets_print_as_stars_everywhere() -> None:
    environ = {
        "SLACK_BOT_TOKEN": SECRET,
        "SLACK_APP_TOKEN": APP,
        "DISCORD_TOKEN": "discord-canary",
        "REDIS_URL": "redis://:pw-canary@host:1/0",
    }
    settings = load_settings(environ=environ)

    shown = [repr(settings), str(settings), settings.model_dump_json(), str(settings.model_dump())]
    assert all("canary" not in text for text in shown)
    assert "***" in shown[0]
    assert settings.redis.where == "redis://host:1/0"
    assert set(settings.secrets()) == set(environ.values())


def test_the_environment_wins_over_dotenv_which_wins_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "firstline.toml"
    file.write_text("[planner]\nmax_steps = 2\n[limits]\nmax_parts = 2\nmax_waiting = 2\n")
    (tmp_path / ".env").write_text(
        "FIRSTLINE_PLANNER__MAX_STEPS=3\nFIRSTLINE_LIMITS__MAX_PARTS=3\nOTHER=1\n"
    )

    settings = load_settings(file, environ={"FIRSTLINE_PLANNER__MAX_STEPS": "4"})

    assert settings.planner.max_steps == 4
    assert settings.limits.max_parts == 3
    assert settings.limits.max_waiting == 2


def test_an_unknown_variable_refuses_and_offers_the_right_name() -> None:
    with pytest.raises(SettingsError, match=r"planner\.max_step: unknown.*'max_steps'"):
        load_settings(environ={"FIRSTLINE_PLANNER__MAX_STEP": "3"})


def test_an_empty_variable_counts_as_unset() -> None:
    assert not load_settings(environ={"SLACK_BOT_TOKEN": "", "REDIS_URL": ""}).slack.enabled


@pytest.mark.parametrize("text", ["a = ", "\x00", "[a]\n[a]\n", 'token = "canary', "canary canary"])
def test_a_broken_file_is_named_with_the_place_and_not_quoted(tmp_path: Path, text: str) -> None:
    file = tmp_path / "firstline.toml"
    file.write_text(text)

    with pytest.raises(SettingsError, match=r"firstline\.toml: not valid TOML") as refusal:
        load_settings(file, environ={})
    assert "canary" not in str(refusal.value)


def test_a_broken_dotenv_names_its_line(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("A=1\n=canary\n")
    (tmp_path / "firstline.toml").write_text("")

    with pytest.raises(SettingsError, match="line 2") as refusal:
        load_settings(tmp_path / "firstline.toml", environ={})
    assert "canary" not in str(refusal.value)


def test_a_chosen_file_that_is_not_there_refuses(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no settings file"):
        load_settings(environ={"FIRSTLINE_CONFIG": str(tmp_path / "none.toml")})


def test_a_key_is_fetched_from_the_variable_the_route_names(tmp_path: Path) -> None:
    file = tmp_path / "firstline.toml"
    file.write_text(
        '[models.routes.big-one]\nbackend = "openai_api"\nmodel = "m"\n'
        'base_url = "https://models.example.com/v1"\napi_key_env = "BIG_KEY"\n'
        '[roles]\nplanner = ["big-one", "embedded"]\n'
    )
    with pytest.raises(SettingsError, match=r"routes\.big-one\.api_key_env"):
        load_settings(file, environ={})

    environ = {"BIG_KEY": "key-canary", "FIRSTLINE_MODELS__ROUTES__BIG_ONE__MAX_IMAGES": "2"}
    settings = load_settings(file, environ=environ)

    route = settings.routes["big-one"]
    assert route.api_key is not None
    assert route.api_key.get_secret_value() == "key-canary"
    assert (route.placement, route.max_images) == ("cloud", 2)
    assert settings.configures("planner")
    assert not settings.configures("vision")


@pytest.mark.parametrize(
    ("url", "placement"),
    [
        ("http://127.0.0.1:8000/v1", "local"),
        ("http://[::1]:8000/v1", "local"),
        ("http://10.1.2.3/v1", "self_hosted"),
        ("http://vllm:8000/v1", "self_hosted"),
        ("https://api.example.com/v1", "cloud"),
    ],
)
def test_a_route_knows_where_its_server_stands(url: str, placement: str) -> None:
    route = {"backend": "openai_api", "model": "m", "base_url": url}
    settings = load_settings(environ={}, overrides={"models.routes.a": route})

    assert settings.routes["a"].placement == placement


def test_ids_are_read_as_lists_numbers_or_comma_separated_text() -> None:
    environ = {"FIRSTLINE_SLACK__ALLOW__USERS": "U1, U2"}
    overrides = {"discord.allow.users": [123456789012345678, "*"]}
    settings = load_settings(environ=environ, overrides=overrides)

    assert settings.slack.allow.users == ("U1", "U2")
    assert settings.discord.allow.users == ("123456789012345678", "*")


def test_a_secret_in_a_file_that_anyone_can_read_is_reported(tmp_path: Path) -> None:
    file, dotenv = tmp_path / "firstline.toml", tmp_path / ".env"
    file.write_text('[discord]\ntoken = "x"\n')
    dotenv.write_text("SLACK_BOT_TOKEN=xoxb-1\n")
    file.chmod(0o644)
    dotenv.chmod(0o644)
    assert len(secret_file_warnings(file, environ={})) == 2

    file.chmod(0o600)
    dotenv.chmod(0o600)
    assert secret_file_warnings(file, environ={}) == ()


def test_the_example_file_is_valid_and_shows_the_defaults(tmp_path: Path) -> None:
    example = Path(__file__).parents[2] / "firstline.example.toml"
    copy = tmp_path / "firstline.toml"
    copy.write_text(example.read_text())

    shown = json.loads(load_settings(copy, environ={}).model_dump_json())
    assert shown == json.loads(Settings().model_dump_json())
