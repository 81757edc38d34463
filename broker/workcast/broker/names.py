"""The names of workcast's files and environment variables."""

from typing import Final

# ── a root ───────────────────────────────────────────────────────────────────────────────────────────────────────────
WORKCELLS_DIRECTORY: Final = ".workcells"
STATE_DIRECTORY: Final = ".workcast"
"""In the workcells' directory, or beside a log that is in no root."""
GITIGNORE_FILE: Final = ".gitignore"

# ── a workcell ───────────────────────────────────────────────────────────────────────────────────────────────────────
LOG_FILE: Final = "telemetry.jsonl"
PROMPT_FILE: Final = "prompt.md"
PROOF_FILE: Final = "proof.json"
RUN_LOCK_FILE: Final = "run.lock"
OUTPUT_DIRECTORY: Final = "logs"
"""Holds what agents printed."""
IGNORED_FILE: Final = "ignored-by-git"
"""In the output directory: the ``core.excludesFile`` of the agent's git."""
DEMO_FILE: Final = "played-by-demo"
"""Marks a workcell of the demo."""
WORKCELL_FILES: Final = (LOG_FILE, PROMPT_FILE, PROOF_FILE, DEMO_FILE, RUN_LOCK_FILE)
"""What workcast writes into a workcell's directory, beside the output directory."""

# ── the state directory ──────────────────────────────────────────────────────────────────────────────────────────────
ORIGIN_FILE: Final = "origin"
UP_STATE_FILE: Final = "up.json"
UP_LOCK_FILE: Final = "up.lock"
BROKER_STATE_FILE: Final = "broker.json"
REMOVAL_LOCK_FILE: Final = "removal.lock"
"""Held while a workcell is removed."""
REMOVED_DIRECTORY: Final = "removed"
"""Holds a mark for each workcell that was removed, with the name of its directory; its time is that of the removal."""
ENDED_LOGS_FILE: Final = "ended-logs"
"""What a start needs of the logs that have ended."""
INDEX_FILE: Final = "index.sqlite"
INDEX_LOCK_FILE: Final = "index.lock"
"""Held by the process that writes the index."""

INDEX_SUFFIX: Final = "index"
EPOCH_SUFFIX: Final = "epoch"
RETIRED_SUFFIX: Final = "retired"
WATERMARK_SUFFIX: Final = "mark"
SUMS_SUFFIX: Final = "sums"
CHECKPOINT_SUFFIX: Final = "checkpoint"
TRANSCRIPT_SUFFIX: Final = "transcript"
"""How far the transcripts of a session have been imported."""
SESSION_LOCK_SUFFIX: Final = "telling"
SESSION_INDEX_SUFFIX: Final = "session"
"""What the log of a session contains, for hooks."""
STATE_SUFFIXES: Final = (
    INDEX_SUFFIX, EPOCH_SUFFIX, RETIRED_SUFFIX, WATERMARK_SUFFIX, SUMS_SUFFIX, CHECKPOINT_SUFFIX, TRANSCRIPT_SUFFIX,
    SESSION_INDEX_SUFFIX, SESSION_LOCK_SUFFIX,
)  # fmt: skip
"""All of a workcell's state files."""


def state_file(workcell: str, suffix: str) -> str:
    """Return the state file of a workcell, given its directory's name and one of the suffixes."""
    return f"{workcell}.{suffix}"


def watch_lock_file(agent: str) -> str:
    """Return the lock that ``workcast watch`` holds while it follows the sessions of an agent."""
    return f"watch-{agent}.lock"


# ── environment variables ────────────────────────────────────────────────────────────────────────────────────────────
PREFIX: Final = "WORKCAST_"

# read by the library and by hooks, see workcast.broker.environment
ROOT_VARIABLE: Final = "WORKCAST_ROOT"
REDIS_URL_VARIABLE: Final = "WORKCAST_REDIS_URL"
PRICES_VARIABLE: Final = "WORKCAST_PRICES"
LOCK_TIMEOUT_VARIABLE: Final = "WORKCAST_LOCK_TIMEOUT"
SHARE_VARIABLE: Final = "WORKCAST_SHARE"
RUN_VARIABLE: Final = "WORKCAST_RUN"
"""Set by a run in the environment of its agent: the run's random id."""

# read by the gateway alone: WORKCAST_ and the name of the setting
GATEWAY_SETTINGS: Final = (
    "host", "port", "redis_url", "redis_patience", "max_message_bytes", "max_subscriptions", "max_viewers",
    "max_connections", "max_connections_per_address", "request_timeout", "answer_timeout",
    "max_ops_per_second", "max_bytes_per_second", "max_pings_per_second", "flood_seconds", "max_frame_bytes",
    "ring_bytes", "window_bytes",
)  # fmt: skip

# options of the command line
BUDGET_VARIABLE: Final = "WORKCAST_BUDGET"
DEMO_ROOT_VARIABLE: Final = "WORKCAST_DEMO_ROOT"
DRY_RUN_VARIABLE: Final = "WORKCAST_DRY_RUN"
EXIT_CODE_VARIABLE: Final = "WORKCAST_EXIT_CODE"
FROM_VARIABLE: Final = "WORKCAST_FROM"
HOST_VARIABLE: Final = "WORKCAST_HOST"
BY_VARIABLE: Final = "WORKCAST_BY"
INDEX_VARIABLE: Final = "WORKCAST_INDEX"
ISSUE_VARIABLE: Final = "WORKCAST_ISSUE"
KEEP_FAILED_VARIABLE: Final = "WORKCAST_KEEP_FAILED"
MAX_BYTES_VARIABLE: Final = "WORKCAST_MAX_BYTES"
MAX_TOKENS_VARIABLE: Final = "WORKCAST_MAX_TOKENS"
MODEL_VARIABLE: Final = "WORKCAST_MODEL"
OLDER_THAN_VARIABLE: Final = "WORKCAST_OLDER_THAN"
ONLY_AGENTS_VARIABLE: Final = "WORKCAST_ONLY_AGENTS"
PORT_VARIABLE: Final = "WORKCAST_PORT"
ROWS_VARIABLE: Final = "WORKCAST_ROWS"
LIMIT_VARIABLE: Final = "WORKCAST_LIMIT"
SINCE_VARIABLE: Final = "WORKCAST_SINCE"
STRICT_VARIABLE: Final = "WORKCAST_STRICT"
TIMEOUT_VARIABLE: Final = "WORKCAST_TIMEOUT"
URL_VARIABLE: Final = "WORKCAST_URL"
VERBOSE_VARIABLE: Final = "WORKCAST_VERBOSE"
WATCH_VARIABLE: Final = "WORKCAST_WATCH"
WITH_WORKTREE_VARIABLE: Final = "WORKCAST_WITH_WORKTREE"
WORKCELL_VARIABLE: Final = "WORKCAST_WORKCELL"
WORKTREE_VARIABLE: Final = "WORKCAST_WORKTREE"
