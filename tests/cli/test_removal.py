"""``rm`` and ``prune``: what they remove, refuse and print."""

from __future__ import annotations

import json
import os
import re
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.logs import event_line, write_log
from support.processes import Program, Up, refusal, workcast
from support.removals import left_of, write_records
from support.waiting import wait_until
from workcast.broker.root import Root
from workcast.events.timestamp import format_timestamp

GIT_ENV = {
    **{key: value for key, value in os.environ.items() if not key.startswith("GIT_")},
    **{f"GIT_{who}_{what}": "dev" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
}


def git(directory: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=directory, env=GIT_ENV, check=True, capture_output=True)
    return done.stdout.decode().strip()


def state_of(directory: Path) -> dict[Path, tuple[int, bytes]]:
    """Everything below a directory, as it is now."""
    return {
        path: (path.lstat().st_mtime_ns, path.read_bytes() if path.is_file() else b"") for path in directory.rglob("*")
    }


def removed(done: subprocess.CompletedProcess[bytes]) -> dict[str, dict[str, Any]]:
    """The outcomes that ``--json`` printed, by workcell."""
    return {item["workcell"]: item for item in map(json.loads, done.stdout.splitlines())}


def write_ended(root: Root, workcell: str, days: float, status: str = "success", size: int = 0) -> None:
    """Write the log of a run that ended so many days ago."""
    at = datetime.now(UTC) - timedelta(days=days)
    end = json.dumps({"type": "completed", "timestamp": format_timestamp(at), "status": status}).encode()
    path = write_log(root, workcell, [event_line(0, "x" * size), end], "wb")
    os.utime(path, (at.timestamp(), at.timestamp()))


# ── rm ───────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_what_a_run_wrote_is_removed_as_a_dry_run_says(tmp_path: Path) -> None:
    place = ("--root", str(tmp_path))
    assert workcast("run", "exec", *place, "--workcell", "wc", "--", "echo", "hello").returncode == 0
    before = state_of(tmp_path)
    cells = tmp_path / ".workcells"
    files = {str(path.relative_to(cells)): len(before[path][1]) for path in cells.rglob("wc/**/*") if path.is_file()}
    dry = workcast("rm", "wc", *place, "--dry-run", "--json")
    assert dry.returncode == 0, dry.stderr
    assert state_of(tmp_path) == before
    text = workcast("rm", "wc", *place, "--dry-run")
    assert state_of(tmp_path) == before
    done = workcast("rm", "wc", *place, "--json")
    assert done.returncode == 0, done.stderr
    assert removed(done) == removed(dry)
    outcome = removed(done)["wc"]
    assert {"wc/telemetry.jsonl", "wc/proof.json", "wc/run.lock"} < set(outcome["files"])
    assert set(outcome["files"]) == set(files)
    assert outcome["bytes"] == sum(files.values())
    assert outcome["stays"] == []
    assert all(file.encode() in text.stdout for file in files)
    assert f"{outcome['bytes']:,} bytes, would be removed".encode() in text.stdout
    assert left_of(Root(tmp_path)) == []
    assert workcast("ls", *place, "--json").stdout == b""


def test_a_run_that_goes_on_is_refused_and_an_unknown_id_stops_no_other(tmp_path: Path) -> None:
    root = Root(tmp_path)
    root.prepare()
    for name in ("one", "two"):
        write_records(root, name)
    place = ("--root", str(tmp_path))
    with Program("run", "exec", *place, "--workcell", "busy", "--", "sh", "-c", "echo begun; sleep 600") as run:
        wait_until(lambda: root.log("busy").exists() and b"bash_output" in root.log("busy").read_bytes())
        before = state_of(root.workcell("busy"))
        done = workcast("rm", "one", "busy", "unknown", "../x", "two", *place)
        assert done.returncode == 1
        assert [line.split(b":")[0] for line in done.stdout.splitlines() if not line.startswith(b" ")] == [
            b"one",
            b"two",
        ]
        errors = done.stderr.decode().splitlines()
        assert any("busy to be at rest" in line for line in errors)
        assert any("got 'unknown'; workcast ls lists them" in line for line in errors)
        assert any("expected a workcell id" in line for line in errors)
        assert errors[-1].startswith("2 workcells removed")
        after = state_of(root.workcell("busy"))
        lock = root.workcell("busy") / "run.lock"
        assert {**after, lock: ()} == {**before, lock: ()}  # whose time is the run's heartbeat
        assert workcast("rm", "busy", *place, "--dry-run").returncode == 1
        assert root.ids() == ["busy"]
        run.interrupt()
        run.wait()
    assert workcast("rm", "busy", *place).returncode == 0
    assert root.ids() == []


def test_two_removals_at_once_remove_everything_once(root: Root) -> None:
    names = [f"wc-{number}" for number in range(40)]
    written = [path for name in names for path in write_records(root, name)]
    place = ("--root", str(root.directory), "--json")
    with Program("rm", *names, *place) as first, Program("rm", *reversed(names), *place) as second:
        first.wait()
        second.wait()
        outcomes = [json.loads(line) for program in (first, second) for line in program.out.splitlines()]
        assert "Traceback" not in first.err + second.err
    assert sorted(one["workcell"] for one in outcomes if one["files"]) == sorted(names)
    assert sum(len(one["files"]) for one in outcomes) == len(written)
    assert all(one["files"] or "expected a workcell" in one["problem"] or one["removed"] for one in outcomes)
    assert [left_of(root, name) for name in names] == [[]] * 40
    assert root.ids() == []


@pytest.mark.parametrize("missing", ["root", "workcells"])
def test_an_empty_root_has_nothing_to_remove(tmp_path: Path, missing: str) -> None:
    root = tmp_path / "root"
    if missing == "workcells":
        root.mkdir()
    done = workcast("rm", "wc", "--root", str(root))
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr
    assert (b"does not exist" if missing == "root" else b"got 'wc'") in done.stderr
    assert not root.exists() or list(root.iterdir()) == []


# ── worktrees ────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with one commit, and a worktree that a run made, as workcell ``wc``."""
    path = tmp_path / "repository"
    path.mkdir()
    git(path, "init", "--quiet")
    (path / ".gitignore").write_text("*.tmp\n")
    (path / "prompt.md").write_text("a file of the repository\n")
    git(path, "add", "--all")
    git(path, "commit", "--quiet", "-m", "first")
    done = workcast("run", "exec", "--worktree", "--workcell", "wc", "--root", str(path), "--", "true")
    assert done.returncode == 0, done.stderr
    return path


def dirty(cell: Path) -> None:
    (cell / "prompt.md").write_text("changed\n")


def untracked(cell: Path) -> None:
    (cell / "new.py").write_text("work\n")


def in_output(cell: Path) -> None:
    (cell / "logs" / "mine.txt").write_text("work\n")


def committed(cell: Path) -> None:
    (cell / "new.py").write_text("work\n")
    git(cell, "add", "new.py")
    git(cell, "commit", "--quiet", "-m", "work")


def foreign(cell: Path) -> None:
    (cell / ".git").unlink()
    git(cell, "init", "--quiet")
    git(cell, "add", "--all")
    git(cell, "commit", "--quiet", "-m", "own")
    git(cell, "config", "core.fsmonitor", f"touch {cell / 'executed'}; false")


def missing_link(cell: Path) -> None:
    (cell / ".git").write_text("gitdir: /nowhere\n")


@pytest.mark.parametrize("work", [dirty, untracked, in_output, committed, foreign, missing_link])
def test_a_worktree_with_work_in_it_is_refused_whole_and_its_work_is_kept_without(repository: Path, work: Any) -> None:
    root = Root(repository)
    cell = root.workcell("wc")
    work(cell)
    before = state_of(cell)
    done = workcast("rm", "wc", "--with-worktree", "--root", str(repository))
    message = refusal_of(done)
    assert "nothing of wc was removed, because of its worktree: it " in message or "git cannot" in message
    assert {path: data for path, (_, data) in state_of(cell).items()} == {p: data for p, (_, data) in before.items()}
    assert root.ids() == ["wc"]
    assert workcast("rm", "wc", "--root", str(repository)).returncode == 0
    ours = {"telemetry.jsonl", "proof.json", "run.lock", "ignored-by-git", "prompt.md"}
    kept = {path: data for path, (_, data) in before.items() if path.name not in ours and "exec-" not in path.name}
    kept = {path: data for path, data in kept.items() if path.is_file()}
    assert {path: path.read_bytes() for path in kept if path.exists()} == kept
    assert (cell / "prompt.md").exists()  # the repository's
    assert not (cell / "executed").exists()
    assert root.ids() == []


def refusal_of(done: subprocess.CompletedProcess[bytes]) -> str:
    assert done.returncode == 1
    assert done.stdout == b""
    assert b"Traceback" not in done.stderr
    return done.stderr.decode()


@pytest.mark.parametrize("is_merged", [False, True])
@pytest.mark.parametrize("is_first", [False, True])
def test_a_clean_worktree_is_removed_with_its_branch(repository: Path, *, is_merged: bool, is_first: bool) -> None:
    root = Root(repository)
    cell = root.workcell("wc")
    (cell / "cache.tmp").write_text("ignored")
    if is_merged:
        committed(cell)
        git(repository, "merge", "--quiet", "workcast/wc")
    if not is_first:  # its records may have been removed before
        assert workcast("rm", "wc", "--root", str(repository)).returncode == 0
        assert cell.is_dir()
    dry = workcast("rm", "wc", "--with-worktree", "--dry-run", "--json", "--root", str(repository))
    assert cell.is_dir()
    done = workcast("rm", "wc", "--with-worktree", "--json", "--root", str(repository))
    assert done.returncode == 0, done.stderr
    assert removed(done) == removed(dry)
    assert removed(done)["wc"]["worktree"]
    assert not cell.exists()
    assert "workcast/wc" not in git(repository, "branch", "--list")
    assert "wc" not in git(repository, "worktree", "list")
    run = workcast("run", "exec", "--worktree", "--workcell", "wc", "--root", str(repository), "--", "true")
    assert run.returncode == 0, run.stderr


def test_a_workcell_that_is_no_worktree_needs_no_git(root: Root) -> None:
    write_records(root)
    done = workcast("rm", "wc", "--with-worktree", "--root", str(root.directory), env={"PATH": ""})
    assert done.returncode == 0, done.stderr
    assert left_of(root) == []


def test_without_git_what_may_be_the_repositorys_stays(repository: Path) -> None:
    root = Root(repository)
    assert workcast("rm", "wc", "--root", str(repository), env={"PATH": ""}).returncode == 0
    assert root.ids() == []
    names = {path.name for path in root.workcell("wc").iterdir()}
    assert {"prompt.md", "proof.json"} < names
    assert not {"telemetry.jsonl", "run.lock", "logs"} & names


# ── prune ────────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.fixture
def aged(root: Root) -> Root:
    """A root with runs that ended 1 to 40 days ago; the records of each have a little more than 10,000 bytes."""
    for days, status in ((1, "success"), (10, "failed"), (20, "success"), (35, "timeout"), (40, "cancelled")):
        write_ended(root, f"d{days}", days, status, 10_000)
    return root


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--older-than", "30d"), ["d40", "d35"]),
        (("--older-than", "30d", "--keep-failed"), ["d40"]),
        (("--older-than", "100d"), []),
        (("--older-than", "0s"), ["d40", "d35", "d20", "d10", "d1"]),
        (("--max-bytes", "32K"), ["d40", "d35"]),
        (("--max-bytes", "32K", "--keep-failed"), ["d40", "d20"]),
        (("--max-bytes", "1G"), []),
        (("--max-bytes", "1"), ["d40", "d35", "d20", "d10", "d1"]),
        (("--max-bytes", "45K", "--older-than", "15d"), ["d40", "d35", "d20"]),
    ],
)
def test_prune_removes_by_age_and_size_the_oldest_first(aged: Root, options: list[str], expected: list[str]) -> None:
    words = ("prune", "--root", str(aged.directory), "--json", *options)
    before = state_of(aged.directory)
    dry = workcast(*words, "--dry-run")
    assert state_of(aged.directory) == before
    done = workcast(*words)
    assert (dry.returncode, done.returncode) == (0, 0)
    assert list(removed(done)) == list(removed(dry)) == expected
    assert removed(done) == removed(dry)
    assert aged.ids() == sorted({"d1", "d10", "d20", "d35", "d40"} - set(expected))
    assert [left_of(aged, name) for name in expected] == [[]] * len(expected)


def test_prune_takes_its_rules_from_the_environment(aged: Root) -> None:
    env = {"WORKCAST_OLDER_THAN": "30d", "WORKCAST_KEEP_FAILED": "1", "WORKCAST_MAX_BYTES": "1G"}
    assert workcast("prune", "--root", str(aged.directory), env=env).returncode == 0
    assert aged.ids() == ["d1", "d10", "d20", "d35"]


@pytest.mark.parametrize("options", [(), ("--keep-failed",), ("--dry-run",)])
def test_prune_without_a_rule_says_what_to_give(aged: Root, options: tuple[str, ...]) -> None:
    message = refusal(workcast("prune", "--root", str(aged.directory), *options), 2)
    assert "expected --older-than TIME, --max-bytes SIZE or both" in message
    assert len(aged.ids()) == 5


@pytest.mark.parametrize(
    ("option", "value"), [("--max-bytes", "20X"), ("--max-bytes", "-1"), ("--max-bytes", ""), ("--older-than", "soon")]
)
def test_a_malformed_rule_is_refused(aged: Root, option: str, value: str) -> None:
    message = refusal(workcast("prune", "--root", str(aged.directory), option, value), 2)
    assert "expected a " in message
    assert len(aged.ids()) == 5


def test_prune_leaves_alone_what_is_written(root: Root) -> None:
    place = ("--root", str(root.directory))
    write_log(root, "library", [event_line(1)])  # by a program that holds no lock
    with Program("run", "exec", *place, "--workcell", "busy", "--", "sleep", "600") as run:
        wait_until(lambda: root.log("busy").exists())
        done = workcast("prune", *place, "--older-than", "0s", "--max-bytes", "0")
        assert done.returncode == 0, done.stderr
        assert root.ids() == ["busy", "library"]
        run.interrupt()
        run.wait()


# ── beside an up ─────────────────────────────────────────────────────────────────────────────────────────────────────
def listed(up: Up) -> list[str]:
    return [item["id"] for item in httpx.get(f"{up.url}/api/workcells").json()["workcells"]]


def test_an_up_removes_by_its_rules_at_its_start_and_says_so(aged: Root) -> None:
    size = sum(aged.log(name).stat().st_size for name in ("d35", "d40"))
    with Up(aged.directory, "--older-than", "30d") as up:
        wait_until(lambda: listed(up) == ["d1", "d10", "d20"])
        wait_until(lambda: "by the rules of retention" in " ".join(up.err.split()))
        assert f"removed 2 workcells of {aged.directory}" in up.err
        said = re.search(r"(\d+) files, ([\d,]+) bytes", up.err)
        assert said is not None
        assert int(said[2].replace(",", "")) >= size
    assert aged.ids() == ["d1", "d10", "d20"]


def test_an_up_finishes_what_was_interrupted_and_without_rules_removes_nothing_else(aged: Root) -> None:
    aged.removed.mkdir()
    (aged.removed / "d40").touch()
    aged.log("d40").unlink()
    (aged.state / "d40.checkpoint").write_text("{}")
    with Up(aged.directory) as up:
        wait_until(lambda: "finished the removal of 1 workcells" in " ".join(up.err.split()))
        assert left_of(aged, "d40") == []
        assert listed(up) == ["d1", "d10", "d20", "d35"]


def test_rm_takes_ids_with_the_name_that_the_up_gives_the_root(tmp_path: Path) -> None:
    (tmp_path / "api").mkdir()
    (tmp_path / "web").mkdir()
    web = Root(tmp_path / "web")
    for name in ("one", "two", "three"):
        write_log(web, name, [event_line(1)])
    with Up(tmp_path / "api", "--root", f"web={web.directory}") as up:
        up.show("web:one", 1)
        place = ("--root", str(web.directory))
        done = workcast("rm", "web:one", "two", "other:three", *place, "--json")
        assert done.returncode == 1
        assert {name: one["removed"] for name, one in removed(done).items()} == {
            "web:one": True, "web:two": True, "other:three": False,
        }  # fmt: skip
        wait_until(lambda: listed(up) == ["web:three"])


def test_nothing_is_left_of_a_workcell_that_was_run_relayed_and_watched(tmp_path: Path) -> None:
    """Whatever file is added to what workcast writes must be removed as well."""
    root, place = Root(tmp_path), ("--root", str(tmp_path))
    with Up(tmp_path) as up:
        # Long enough for a checkpoint and an index.
        words = (
            "sh",
            "-c",
            "i=0; while [ $i -lt 100 ]; do head -c 60000 /dev/zero | tr '\\0' x; echo; i=$((i+1)); done",
        )
        assert workcast("run", "exec", *place, "--workcell", "wc", "--", *words).returncode == 0
        up.show("wc", 100)
        wait_until((root.state / "wc.checkpoint").exists)
        with Program("tail", "wc", *place, "--json") as tail:
            tail.lines(100)
            done = workcast("rm", "wc", *place)
            assert done.returncode == 0, done.stderr
            assert tail.wait() == 1
            assert "wc was removed" in tail.err
            assert tail.err.count("\n") == 1
        wait_until(lambda: listed(up) == [])
        up.interrupt()
        up.wait()
    assert "Traceback" not in up.err
    with Up(tmp_path) as up:  # finishes what the first one may have written on its way out
        wait_until(lambda: not any(path.name.startswith("wc.c") for path in root.state.iterdir()))
    left = {str(path.relative_to(root.workcells)) for path in root.workcells.rglob("*wc*")}
    assert left == {".workcast/wc.retired", ".workcast/removed/wc"}
