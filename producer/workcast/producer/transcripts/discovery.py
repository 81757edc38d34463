"""Finding transcripts, and the session that each belongs to, by a file's path or its first lines."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from workcast.producer.decode import parse_object
from workcast.producer.fields import JsonObject, get_object, get_text

Agent = Literal["claude", "codex"]
AGENTS: Final[tuple[Agent, ...]] = ("claude", "codex")

UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
SESSION: Final = re.compile(rf"(?:claude|codex)-{UUID.pattern}")
"""The ids of workcells of sessions."""
NO_TRANSCRIPTS: Final = frozenset({"tool-results", "memory", "todos"})
"""Directories among the transcripts that contain none."""
_FIRST_BYTES: Final = 1 << 20
_FIRST_LINES: Final = 50


@dataclass(frozen=True, slots=True)
class Transcript:
    """A file of a session."""

    path: Path
    agent: Agent
    session: str
    sub_agent: str | None = None
    """The sub-agent whose file it is; None for the session's main one."""
    call: str | None = None
    """The call that started the sub-agent, if a file beside the transcript names it."""

    @property
    def workcell(self) -> str:
        """The id of the session's workcell, which never changes."""
        return re.sub(r"[^A-Za-z0-9._-]", "-", f"{self.agent}-{self.session}")[:128]


def transcripts_directory(agent: Agent, env: Mapping[str, str] = os.environ) -> Path:
    """Return the directory where an agent keeps its transcripts."""
    if agent == "claude":
        return Path(env.get("CLAUDE_CONFIG_DIR") or _home(env) / ".claude") / "projects"
    return Path(env.get("CODEX_HOME") or _home(env) / ".codex") / "sessions"


def identify(path: Path) -> Transcript | None:
    """Return the transcript in a file; None if it is not one, or does not name its session yet."""
    return _by_place(path) or _by_content(path)


def files_of(transcript: Transcript, *, thorough: bool = True) -> list[Transcript]:
    """Return a session's files, the main one first, given one of them.

    Args:
        transcript: the known one.
        thorough: also read files whose name does not contain the session.
    """
    near = transcript.path.parent
    if transcript.agent == "claude":
        above = next((up for up in transcript.path.parents if up.name == "subagents"), None)
        main = transcript.path if above is None else above.parent.with_suffix(".jsonl")
        paths = [main, *sorted(main.with_suffix("").glob("subagents/**/agent-*.jsonl"))]
        paths += sorted(near.glob("agent-*.jsonl")) if thorough and above is None else []
    else:
        paths = sorted(near.glob(f"rollout-*{transcript.session}.jsonl"))
        paths += sorted(near.glob("rollout-*.jsonl")) if thorough else []
    found = {path: identify(path) for path in [*paths, transcript.path]}
    same = [one for one in found.values() if one is not None and one.session == transcript.session]
    return sorted(same, key=lambda one: one.sub_agent is not None)


def _home(env: Mapping[str, str]) -> Path:
    return Path(env.get("HOME") or Path.home())


def _by_place(path: Path) -> Transcript | None:
    """Identify a file of Claude Code, which is named after a session or a sub-agent; one of Codex is not."""
    if path.suffix != ".jsonl":
        return None
    if UUID.fullmatch(path.stem) and path.parent.parent.name == "projects":
        return Transcript(path, "claude", path.stem)
    above = path.parent
    while above.name not in {"subagents", ""}:
        above = above.parent
    if above.name == "subagents" and path.stem.startswith("agent-") and UUID.fullmatch(above.parent.name):
        return Transcript(path, "claude", above.parent.name, path.stem.removeprefix("agent-"), _call_of(path))
    return None


def _call_of(path: Path) -> str | None:
    try:
        meta = parse_object(path.with_suffix(".meta.json").read_bytes())
    except OSError:
        return None
    return None if meta is None else get_text(meta, "toolUseId")


def _by_content(path: Path) -> Transcript | None:
    try:
        with path.open("rb") as file:
            for _ in range(_FIRST_LINES):
                line = file.readline(_FIRST_BYTES)
                parsed = parse_object(line) if line.endswith(b"\n") else None
                found = None if parsed is None else _by_line(path, parsed)
                if found is not None or not line:
                    return found
    except OSError:
        return None
    return None


def _by_line(path: Path, line: JsonObject) -> Transcript | None:
    if get_text(line, "type") == "session_meta":
        return _by_session_meta(path, get_object(line, "payload"))
    session = get_text(line, "sessionId")
    if not session:
        return None
    sub_agent = get_text(line, "agentId") if line.get("isSidechain") is True else None
    return Transcript(path, "claude", session, sub_agent, _call_of(path) if sub_agent else None)


def _by_session_meta(path: Path, meta: JsonObject) -> Transcript | None:
    thread, root = get_text(meta, "id"), get_text(meta, "session_id")
    if not thread:
        return None
    spawned = get_object(get_object(get_object(meta, "source"), "subagent"), "thread_spawn")
    parent = get_text(spawned, "parent_thread_id") or get_text(meta, "parent_thread_id")
    if parent is None:
        return Transcript(path, "codex", thread)
    return Transcript(path, "codex", root if root and root != thread else parent, thread)
