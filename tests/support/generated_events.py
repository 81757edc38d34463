"""Events of all kinds as hypothesis draws them: plausible ones, and others."""

from __future__ import annotations

from typing import Any, Final

from hypothesis import strategies as st

from workcast.events.models import MODELS

Event = dict[str, Any]

_IDS: Final = st.sampled_from(["a", "b", "c"])
_MAYBE_IDS: Final = st.none() | _IDS
_PARENTS: Final = st.sampled_from([None, None, "a", "b"])
_TOKENS: Final = st.fixed_dictionaries({"input_tokens": st.integers(0, 10**6), "output_tokens": st.integers(0, 10**4)})
_MODELS: Final = st.sampled_from(["claude-opus-5-5", "gpt-5.5", "unlisted-model"])
_TOOLS: Final = st.sampled_from(["Bash", "Read"])


def timestamp(milliseconds: int) -> str:
    """Return a time of one day."""
    return (
        f"2026-11-22T{milliseconds // 3_600_000 % 24:02d}:{milliseconds // 60_000 % 60:02d}:"
        f"{milliseconds // 1000 % 60:02d}.{milliseconds % 1000:03d}Z"
    )


_TIMES: Final = st.integers(0, 80_000_000).map(timestamp) | st.integers(0, 9_000).map(timestamp)


def _events(kind: str, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Event]:
    return st.fixed_dictionaries(
        {"type": st.just(kind), "timestamp": _TIMES, **fields},
        optional={"issue_id": _IDS, "toolchain": st.sampled_from(["claude", "codex"])},
    )


PLAUSIBLE: Final[st.SearchStrategy[Event]] = st.one_of(
    _events("usage", usage=_TOKENS, message_id=_MAYBE_IDS, model=_MODELS, parent_call_id=_PARENTS),
    _events("tool_call", tool=_TOOLS, call_id=_MAYBE_IDS, parent_call_id=_PARENTS),
    _events(
        "tool_result", tool=_TOOLS, call_id=_MAYBE_IDS, parent_call_id=_PARENTS, result=st.text(max_size=9),
        error=st.sampled_from([None, None, "no"]),
    ),
    _events("response_chunk", content=st.just("x"), message_id=_IDS, parent_call_id=_PARENTS),
    _events("response_complete", content=st.just("x"), message_id=_IDS),
    _events("file_write", path=_IDS, lines_added=st.integers(0, 9), lines_removed=st.integers(0, 9)),
    _events("started", session_id=_MAYBE_IDS, resumed=st.none() | st.booleans(), model=_MODELS),
    _events("prompt_sent", prompt=st.just("x")),
    _events("error", error=st.just("x")),
    _events("completed", status=st.sampled_from(["success", "failed"]), usage=st.none() | _TOKENS),
    _events("completed", status=st.just("success"), session_usage=_TOKENS, cost_usd=st.none() | st.floats(0, 100)),
)  # fmt: skip
ODD: Final[st.SearchStrategy[Event]] = st.fixed_dictionaries(
    {"type": st.sampled_from([*MODELS, "x"]) | st.text(max_size=9)},
    optional={
        key: st.none() | st.integers() | st.text(max_size=300) | st.lists(st.integers()) | _TOKENS | st.floats()
        for key in (
            "timestamp", "tool", "call_id", "parent_call_id", "message_id", "usage", "session_usage", "cost_usd",
            "model", "models", "error", "status", "session_id", "duration_ms", "path", "lines_added", "issue_id",
        )
    },
)  # fmt: skip
LOGS: Final[st.SearchStrategy[list[Event | None]]] = st.lists(PLAUSIBLE | PLAUSIBLE | ODD | st.none(), max_size=60)
"""None stands for a line that is not an event."""
