"""One file of a session, and how far it was read."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from workcast.producer.decode import parse_object
from workcast.producer.fields import get_object, get_text
from workcast.producer.transcripts.base import Links, TranscriptReader, parse_time
from workcast.producer.transcripts.claude_transcript import ClaudeTranscript
from workcast.producer.transcripts.codex_rollout import CodexRollout
from workcast.producer.transcripts.discovery import Transcript
from workcast.producer.transcripts.forks import NOTHING, Copied
from workcast.producer.transcripts.tail import Tail

MAIN: Final = "main"
_TIME: Final = b'"timestamp":"'


class SessionFile:
    """A transcript, its reader, and the position of both."""

    def __init__(self, transcript: Transcript, links: Links, copied: Copied = NOTHING) -> None:
        self.name = transcript.sub_agent or MAIN
        self.tail = Tail(transcript.path)
        self.known = 0
        """Up to this position, all events are in the log."""
        self.next_at = datetime.fromtimestamp(self.tail.current_stamp()[2] / 1e9, UTC)
        """The time of the next line; in a file without times, that of its last change."""
        self.reader: TranscriptReader
        if transcript.agent == "claude":
            self.reader = ClaudeTranscript(links, self.next_at, transcript.sub_agent, transcript.call)
        else:
            self.reader = CodexRollout(links, self.next_at, transcript.sub_agent)
        self.reader.copied, self.reader.forked_from = copied.uuids, copied.session
        self._next: bytes | None = None

    def is_ready(self) -> bool:
        """Whether there is a line to read."""
        line = self.tail.peek()
        if line is not None and line is not self._next:
            self._next = line
            start = line.find(_TIME)
            time = line[start + len(_TIME) :][:40].partition(b'"')[0] if start >= 0 else b""
            self.next_at = parse_time(time.decode("ascii", "replace")) or self.next_at
        return line is not None

    def is_linked(self) -> bool:
        """Whether the call that started this sub-agent is known; always true for a main file."""
        sub_agent, line = self.reader.sub_agent, self.tail.peek()
        if sub_agent is None or self.tail.position > 0 or line is None:
            return True
        prompt = get_text(get_object(parse_object(line) or {}, "message"), "content")
        return self.reader.links.call_of(sub_agent, prompt) is not None
