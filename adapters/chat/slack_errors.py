"""Slack's error codes: which pass by themselves, what the final ones mean to whom.

Codes as in docs.slack.dev/reference/methods (chat.postMessage, chat.update,
conversations.replies, views.open), 2026-08. A code that is not here is final.
"""

from __future__ import annotations

from collections.abc import Mapping

from adapters.chat.refusals import Meaning
from adapters.chat.sentences import mark

_NOT_HERE = mark("I am not in this conversation. Invite me first, then try again.")
_CLOSED = mark("Nobody can write here any more, so I can't either.")
_MAY_NOT = mark("I am not allowed to write here. Ask the workspace's owners.")
_GONE = mark("That message is not there any more.")
_LATE = mark("That took too long; please try again.")

_REINSTALL = "install the app again and set the new Bot User OAuth Token"
_PASSES = Meaning(passes=True)
_DOUBTFUL = Meaning(passes=True, may_be_done=True)
_VANISHED = Meaning(sentence=_GONE)
_OURS = Meaning(remedy="this is a mistake of the bot's; report the method and the code")
_POLICY = Meaning(
    remedy="the channel's posting permissions exclude the app; its managers can allow it",
    sentence=_MAY_NOT,
)
_LOCKED_OUT = Meaning(
    remedy="the workspace's or organisation's policy blocks the app; its admins can allow it",
    sentence=_MAY_NOT,
)
_TOKEN = Meaning(remedy=_REINSTALL)

ERRORS: Mapping[str, Meaning] = {
    # Slack's own troubles
    "fatal_error": _DOUBTFUL,
    "internal_error": _DOUBTFUL,
    "service_unavailable": _PASSES,
    "request_timeout": _PASSES,
    "ratelimited": _PASSES,
    "rate_limited": _PASSES,
    "team_added_to_org": _PASSES,
    "org_login_required": _PASSES,
    "external_channel_migrating": _PASSES,
    # the token and what it may
    "account_inactive": _TOKEN,
    "invalid_auth": _TOKEN,
    "not_allowed_token_type": _TOKEN,
    "not_authed": _TOKEN,
    "token_expired": _TOKEN,
    "token_revoked": _TOKEN,
    "missing_scope": Meaning(remedy="add the scope under OAuth & Permissions and reinstall"),
    "no_permission": Meaning(remedy="add the scopes of the manifest and reinstall the app"),
    "access_denied": _LOCKED_OUT,
    "ekm_access_denied": _LOCKED_OUT,
    "enterprise_is_restricted": _LOCKED_OUT,
    "team_access_not_granted": _LOCKED_OUT,
    "two_factor_setup_required": _LOCKED_OUT,
    # the place
    "channel_not_found": Meaning(
        remedy="the channel is gone, or private without the bot: invite it with /invite",
        sentence=_NOT_HERE,
    ),
    "not_in_channel": Meaning(remedy="invite the bot there with /invite", sentence=_NOT_HERE),
    "is_archived": Meaning(remedy="the channel is archived: nothing to mend", sentence=_CLOSED),
    "messages_tab_disabled": Meaning(
        remedy="switch on the Messages Tab under App Home in the app's settings"
    ),
    "message_limit_exceeded": Meaning(
        remedy="the workspace sends more messages than its plan allows"
    ),
    "restricted_action": _POLICY,
    "restricted_action_non_threadable_channel": _POLICY,
    "restricted_action_read_only_channel": _POLICY,
    "restricted_action_thread_only_channel": _POLICY,
    "restricted_action_thread_locked": Meaning(sentence=_CLOSED),
    # the message or its thread vanished: never posted elsewhere instead
    "cannot_reply_to_message": _VANISHED,
    "invalid_thread_ts": _VANISHED,
    "thread_not_found": _VANISHED,
    "message_not_found": _VANISHED,
    "cant_update_message": Meaning(),
    "cant_delete_message": Meaning(),
    "edit_window_closed": Meaning(),
    "file_not_found": Meaning(sentence=mark("That file is not there any more.")),
    "file_deleted": Meaning(sentence=mark("That file is not there any more.")),
    "user_not_found": Meaning(),
    # views
    "expired_trigger_id": Meaning(sentence=_LATE),
    "exchanged_trigger_id": Meaning(sentence=_LATE),
    "invalid_trigger_id": Meaning(sentence=_LATE),
    "not_enabled": Meaning(remedy="switch on the Home Tab under App Home in the app's settings"),
    # what was sent
    "msg_too_long": _OURS,
    "msg_blocks_too_long": _OURS,
    "no_text": _OURS,
    "invalid_blocks": _OURS,
    "invalid_arguments": _OURS,
    "invalid_metadata_format": _OURS,
    "metadata_too_large": _OURS,
    "unknown_method": Meaning(remedy="this Slack has no such method; check the API address"),
    "method_deprecated": Meaning(remedy="update the bot: Slack retired the method"),
    "http_408": _DOUBTFUL,
    "http_403": Meaning(remedy="a proxy or Slack refuses this machine; check the way out"),
    "http_404": Meaning(remedy="the API address is not Slack's; check slack.api_url"),
}
_UNKNOWN = Meaning()


def meaning_of(code: str) -> Meaning:
    return ERRORS.get(code, _UNKNOWN)


def remedy_of(code: str, *, needed: str = "") -> str:
    """What the operator can do, or nothing; `needed` is the scope that Slack misses."""
    return f"add the scope {needed} and reinstall the app" if needed else meaning_of(code).remedy


def sentence_of(code: str) -> str:
    """What to tell a person in private, or nothing."""
    return meaning_of(code).sentence
