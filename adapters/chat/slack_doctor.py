"""What is wrong with a Slack set-up, and the one fix for each fault."""

from __future__ import annotations

from adapters.chat.slack_api import NEEDED_SCOPES, SlackApi, SlackCallError, token_of

Finding = tuple[str, bool, str]

_BOT_TOKEN = "copy the Bot User OAuth Token (xoxb-…) from OAuth & Permissions again"  # noqa: S105
_APP_TOKEN = "create an App-Level Token (xapp-…) with connections:write under Basic Information"  # noqa: S105


async def diagnose(
    *, bot_token: str = "", app_token: str = "", api_url: str = "https://slack.com/api/"
) -> list[Finding]:
    """(check, passed, fix) for the bot token, its scopes and the app token: those that are set."""
    api = SlackApi(name="slack", tokens=token_of(bot_token), api_url=api_url)
    findings = []
    if bot_token:
        findings.append(await _try(api, "slack bot token", "auth.test", fix=_BOT_TOKEN))
    if findings and findings[0][1]:
        missing = [scope for scope in NEEDED_SCOPES if scope not in api.scopes]
        fix = f"add {', '.join(missing)} under OAuth & Permissions and reinstall the app"
        findings.append(("slack scopes", not missing, fix if missing else ""))
    if not app_token:
        return findings
    bearer = f"Bearer {app_token}"
    opened = await _try(
        api, "slack app token", "apps.connections.open", authorization=bearer, fix=_APP_TOKEN
    )
    return [*findings, opened]


async def _try(
    api: SlackApi, check: str, method: str, *, fix: str, authorization: str = ""
) -> Finding:
    try:
        await api.call(method, authorization=authorization)
    except SlackCallError as error:
        if error.doubtful:
            return check, False, "make sure that this machine reaches Slack's API address"
        return check, False, f"{fix} ({error.error})"
    return check, True, ""
