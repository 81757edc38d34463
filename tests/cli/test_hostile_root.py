"""The programs on a root in which an agent has put other things in place of files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.hostile import OF_ONE_CELL, PLACES, fifo, is_untouched, link_to_a_file, link_to_itself, make_outside
from support.logs import event_line, write_log
from support.processes import Up, refusal, workcast
from support.waiting import wait_until
from workcast.broker.below import make_directory
from workcast.broker.root import Root

Make = Callable[[Path, Path], None]
KINDS = (fifo, link_to_itself, link_to_a_file)
WRITES_NOTHING = {"LOG_FILE", "RUN_LOCK_FILE", "OUTPUT_DIRECTORY"}
"""What a run cannot replace: it is refused. Other files are replaced."""


def filled(directory: Path, make: Make, outside: Path) -> Root:
    """A root with one calm workcell, and one with something hostile in place of each file of a workcell."""
    directory.mkdir(exist_ok=True)
    root = Root(directory)
    root.prepare()
    write_log(root, "calm", [event_line(0)])
    for name in OF_ONE_CELL:
        if name != "LOG_FILE":
            write_log(root, name, [event_line(0)])
        make_directory(root.workcell(name))
        make(PLACES[name](root, name), outside)
    return root


def listed(url: str) -> dict[str, dict[str, Any]]:
    found = httpx.get(f"{url}/api/workcells", timeout=20).json()["workcells"]
    return {workcell["id"]: workcell for workcell in found}


@pytest.mark.parametrize("make", KINDS)
def test_up_and_ls_show_the_others_and_say_what_is_wrong_with_one(tmp_path: Path, make: Make) -> None:
    outside = make_outside(tmp_path / "outside")
    root = filled(tmp_path / "root", make, outside)
    done = workcast("ls", "--root", str(root.directory), "--json")
    assert done.returncode == 0, done.stderr
    summaries = {item["id"]: item for item in map(json.loads, done.stdout.splitlines())}
    assert summaries.keys() == {"calm", *OF_ONE_CELL}
    assert summaries["calm"]["head"] == 1
    assert "expected a regular file, got a" in summaries["LOG_FILE"]["activity"]
    with Up(root.directory) as up:
        for number in range(1, 4):
            write_log(root, "calm", [event_line(number)])
            up.show("calm", number + 1)
        shown = wait_until(lambda: {k: v for k, v in listed(up.url).items() if v["summary"]}, what="the list")
        assert shown.keys() >= {"calm", *OF_ONE_CELL}
        for name in ("LOG_FILE", "WATERMARK_SUFFIX"):
            assert "expected a regular file, got a" in listed(up.url)[name]["summary"]["activity"]
        assert "expected a regular file, got a" in httpx.get(f"{up.url}/api/workcells/LOG_FILE").text
        up.interrupt()
        assert up.wait() == 0
    assert "Traceback" not in up.err
    assert is_untouched(outside)


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("name", ["LOG_FILE", "RUN_LOCK_FILE", "PROOF_FILE", "OUTPUT_DIRECTORY", "PROMPT_FILE"])
def test_a_run_ends_in_time_and_writes_nowhere_else(tmp_path: Path, name: str, make: Make) -> None:
    outside = make_outside(tmp_path / "outside")
    root = Root(tmp_path / "root")
    root.directory.mkdir()
    make_directory(root.workcell("wc"))
    make(PLACES[name](root, "wc"), outside)
    given = ("--root", str(root.directory), "--workcell", "wc", "--timeout", "4s")
    done = workcast("run", "exec", *given, "--", "echo", "hello")
    assert is_untouched(outside)
    if name in WRITES_NOTHING:
        text = refusal(done)
        assert "expected a" in text
        assert "got a " in text
        assert "remove" in text
    else:
        assert done.returncode == 0, done.stderr
        assert "hello" in root.log("wc").read_text()


def test_a_root_whose_workcells_are_a_link_is_refused_by_each_verb(tmp_path: Path) -> None:
    outside = make_outside(tmp_path / "outside")
    root = tmp_path / "root"
    root.mkdir()
    (root / ".workcells").symlink_to(outside)
    place = ("--root", str(root))
    for verb in (
        ("up", *place, "--port", "0"), ("ls", *place), ("run", "exec", *place, "--", "true"), ("verify", *place),
    ):  # fmt: skip
        assert "got a symbolic link to" in refusal(workcast(*verb))
    assert is_untouched(outside)
