"""The history of every viewer is dense and equals the log, whatever happens to viewers, broker and log."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import tempfile
import threading
from collections.abc import Coroutine
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from support.history_checker import Connected, Entry, Log, Requested, epochs_shown, problems
from support.logs import event_line, write_log
from support.valkey import Server
from support.viewers import Viewer, running_hub, running_relay
from support.waiting import wait_until_async
from workcast.broker.batch import Budgets
from workcast.broker.connection import connect
from workcast.broker.keys import feed_key, stream_key
from workcast.broker.log import LogReader
from workcast.broker.log_facts import epoch_of
from workcast.broker.root import Root
from workcast.events.wire import wire

T = TypeVar("T")
WORKCELL = "wc"
TEXTS = st.sampled_from([b'{"type":"x","n":1}', b'{ "type" :"odd" , "n": 1.0 }  ', b"no json", b"\xff", b"[]", b""])


class Histories(RuleBasedStateMachine):
    """Viewers come, go and resume; a writer appends; broker and gateway are killed; the log is replaced."""

    server: Server
    viewers = Bundle("viewers")
    left = Bundle("left")

    @initialize()
    def begin(self) -> None:
        self._stack = contextlib.ExitStack()
        self._runner = self._stack.enter_context(asyncio.Runner())
        directory = self._stack.enter_context(tempfile.TemporaryDirectory())
        self._root = Root(Path(directory))
        self._root.prepare()
        self._root.workcell(WORKCELL).mkdir()
        self.url = self.server.url
        self.server.start_if_down()
        self._client: Any = connect(self.url)
        self._client.flushall()
        self._stack.callback(self._end_client)
        self._relay = contextlib.ExitStack()
        self._start_relay()
        self._stack.callback(self._relay.close)
        self._start_hub()
        self._paused: set[int] = set()
        self._present: list[Viewer] = []
        self._away: list[Viewer] = []
        self._logs: list[Log] = []
        self._lines: list[bytes] = []
        self._logs_begun = 0

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)

    def _start_relay(self) -> None:
        self._relay.enter_context(running_relay(self._root, self.url, Budgets(stream_entries=5, feed_entries=8)))

    def _end_client(self) -> None:
        self._client.close()  # the current one: a restarted broker has another

    def _start_hub(self) -> None:
        self._hub_context = running_hub(self._root, self.url, ring_bytes=600, frame_bytes=300)
        self._hub = self._run(self._hub_context.__aenter__())

    # ── the writer ──
    @rule(texts=st.lists(TEXTS, min_size=1, max_size=12))
    def append(self, texts: list[bytes]) -> None:
        if not self._lines:
            self._begin_log([])
        self._extend(texts)

    @rule(texts=st.lists(TEXTS, max_size=6), keep=st.integers(0, 4), relayed=st.booleans(), in_place=st.booleans())
    def replace_the_log(self, texts: list[bytes], keep: int, *, relayed: bool, in_place: bool) -> None:
        """With a log that may start alike, while the relay runs or not; the relay chooses its epoch."""
        if not relayed:
            self._relay.close()
        kept = self._lines[:keep]
        if in_place and self._lines:
            os.truncate(self._root.log(WORKCELL), sum(len(line) + 1 for line in kept))
        else:
            self._root.log(WORKCELL).unlink(missing_ok=True)
            write_log(self._root, WORKCELL, kept)
        self._begin_log(kept)
        self._extend(texts)
        if not relayed:
            self._start_relay()

    def _begin_log(self, kept: list[bytes]) -> None:
        """Besides the lines it keeps, a log has a line that no other log has."""
        self._logs_begun += 1
        self._lines = list(kept)
        self._logs.append(Log(()))
        self._extend([event_line(self._logs_begun)])

    def _extend(self, lines: list[bytes]) -> None:
        self._lines += lines
        self._logs[-1] = Log([wire(line) for line in self._lines])
        write_log(self._root, WORKCELL, lines)

    # ── the broker ──
    @rule()
    def flush_the_broker(self) -> None:
        self._client.flushall()

    @rule(key=st.sampled_from([feed_key(0), stream_key(WORKCELL)]))
    def trim(self, key: str) -> None:
        self._client.xtrim(key, maxlen=0, approximate=False)

    @rule()
    def restart_the_broker(self) -> None:
        """Kill it; its contents are lost."""
        self.server.kill()
        self.server.start()
        self._client.close()
        self._client = connect(self.url)

    @rule()
    def stop_the_broker_for_a_while(self) -> None:
        """Stop answering for a while, then continue."""
        process = self.server.process
        assert process is not None
        os.kill(process.pid, signal.SIGSTOP)
        goes_on = threading.Timer(0.03, os.kill, (process.pid, signal.SIGCONT))
        goes_on.start()
        self.let_things_happen(20)
        goes_on.join()

    # ── the gateway ──
    @rule()
    def restart_the_gateway(self) -> None:
        """Every viewer loses its socket, and reconnects with its cursor."""
        gone, self._present[:] = list(self._present), []
        for viewer in gone:
            self._run(viewer.leave())
        self._run(self._hub_context.__aexit__(None, None, None))
        self._start_hub()
        for viewer in gone:
            self._run(viewer.reconnect(self._hub, WORKCELL, _cursor(viewer) or "start"))
            self._present.append(viewer)
        self._paused.clear()

    @rule()
    def restart_the_relay(self) -> None:
        self._relay.close()
        self._start_relay()

    # ── the viewers ──
    @rule(target=viewers, place=st.sampled_from(["start", "tail", {"last": 3}, {"epoch": 7, "offset": 2}]))
    def come(self, place: object) -> Viewer:
        return self._connect(place, None)

    def _connect(self, place: object, history: list[Entry] | None) -> Viewer:
        async def connected() -> Viewer:
            viewer = Viewer(self._hub, history=history)
            viewer.subscribe(WORKCELL, place)
            return viewer

        viewer = self._run(connected())
        self._present.append(viewer)
        return viewer

    @rule(viewer=viewers, place=st.sampled_from(["start", "tail", {"last": 2}]))
    def subscribe_again(self, viewer: Viewer, place: object) -> None:
        self._paused.discard(id(viewer))
        viewer.subscribe(WORKCELL, place)

    @rule(viewer=viewers)
    def stop_reading(self, viewer: Viewer) -> None:
        viewer.transport.draining.clear()

    @rule(viewer=viewers)
    def read_again(self, viewer: Viewer) -> None:
        viewer.transport.draining.set()

    @rule(viewer=viewers)
    def read_history(self, viewer: Viewer) -> None:
        """Stop following: get heads instead of events."""
        self._paused.add(id(viewer))
        viewer.say({"op": "follow", "workcell": WORKCELL, "follow": False})

    @rule(viewer=viewers)
    def follow_again(self, viewer: Viewer) -> None:
        cursor = _cursor(viewer)
        if cursor is None or id(viewer) not in self._paused:
            return
        self._paused.discard(id(viewer))
        viewer.follow(WORKCELL, cursor)

    @rule(target=left, viewer=consumes(viewers))
    def go(self, viewer: Viewer) -> Viewer:
        self._present.remove(viewer)
        self._away.append(viewer)
        self._paused.discard(id(viewer))
        self._run(viewer.leave())
        return viewer

    @rule(target=viewers, viewer=consumes(left))
    def come_back(self, viewer: Viewer) -> Viewer:
        self._away.remove(viewer)
        return self._connect(_cursor(viewer) or "start", viewer.history)

    @rule(turns=st.integers(1, 30))
    def let_things_happen(self, turns: int) -> None:
        async def pass_turns() -> None:
            for _ in range(turns):
                await asyncio.sleep(0)

        self._run(pass_turns())

    # ── what must hold ──
    @invariant()
    def every_history_is_dense_and_equal_to_the_log(self) -> None:
        self._judge(None)

    def _judge(self, complete: int | None) -> None:
        """Every history is correct; with ``complete``, an epoch, those of connected viewers have all of its events."""
        for viewer in self._present:
            viewer.record()
        shown = epochs_shown(WORKCELL, [viewer.history for viewer in (*self._present, *self._away)], self._logs)
        assert all(shown.values()), f"one epoch for several logs: {shown}"
        # If the log is no longer on disk, what the broker lacks is gone.
        replaced = shown.keys() - {complete} if len(self._logs) > 1 else set[int]()
        logs = {epoch: fitting[-1] for epoch, fitting in shown.items()}
        for viewer in self._present:
            found = problems(WORKCELL, viewer.history, logs, complete=complete, unavailable=replaced)
            assert found == []

    def teardown(self) -> None:
        try:
            self._run(self._settle())
            self._judge(self._disk_epoch() if self._lines else None)
        finally:
            self._run(self._close())
            self._stack.close()

    async def _settle(self) -> None:
        """Every viewer reads, and has reached the end of the log."""
        for viewer in self._present:
            viewer.transport.draining.set()
            if id(viewer) in self._paused:
                await wait_until_async(partial(_cursor, viewer), what="an answer")
                viewer.follow(WORKCELL, _cursor(viewer))

        def all_are_live() -> bool:
            end = (self._disk_epoch(), len(self._lines))
            return all(_is_live_at(viewer, end) for viewer in self._present)

        await wait_until_async(all_are_live, what="every viewer is live at the end")

    def _disk_epoch(self) -> int:
        """The current epoch, once the relay has read the log."""
        reader = LogReader(self._root.log(WORKCELL))
        reader.refresh()
        return epoch_of(self._root, WORKCELL, reader)

    async def _close(self) -> None:
        for viewer in self._present:
            await viewer.leave()
        await self._hub_context.__aexit__(None, None, None)


def _cursor(viewer: Viewer) -> dict[str, int] | None:
    """Return the cursor of a viewer, as a client would keep it from its messages."""
    cursor = None
    for message in viewer.got:
        match message["op"]:
            case "subscribed" | "reset":
                cursor = {"epoch": message["epoch"], "offset": message["offset"]}
            case "events":
                cursor = {"epoch": message["epoch"], "offset": message["offset"] + len(message["events"])}
            case _:
                pass
    return cursor


def _is_live_at(viewer: Viewer, end: tuple[int, int]) -> bool:
    """Whether a viewer has all its answers, and is live with this epoch and cursor."""
    cursor, ops = _cursor(viewer), viewer.ops()
    answered = [at for at, op in enumerate(ops) if op in ("subscribed", "reset")]
    last_connected = max(at for at, item in enumerate(viewer.history) if isinstance(item, Connected))
    asked = sum(isinstance(item, Requested) for item in viewer.history[last_connected:])
    if cursor is None or len(answered) < asked or "live" not in ops[answered[-1] :]:
        return False
    return (cursor["epoch"], cursor["offset"]) == end


def test_every_viewers_history_is_dense_and_equal_to_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    server = Server(tmp_path)
    request.addfinalizer(server.kill)
    monkeypatch.setattr(Histories, "server", server, raising=False)
    run_state_machine_as_test(Histories, settings=settings(max_examples=25, stateful_step_count=25, deadline=None))
