from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

import pytest

from workcast.broker.errors import RootError, WorkcellIdError
from workcast.broker.root import Root, check_workcell_id


@pytest.mark.parametrize("name", ["a", "wc-1", "A.b_c-9", "0", "x" * 128, "a..b"])
def test_an_id_that_names_one_directory_is_accepted(name: str) -> None:
    assert check_workcell_id(name) == name


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", "a\0b", "-a", ".a", "_a", "x" * 129, "x" * 1000, "a b", "é", "a\n", "a\\b"]
)
def test_an_id_that_could_name_another_place_is_refused(name: str) -> None:
    with pytest.raises(WorkcellIdError, match="expected a workcell id"):
        check_workcell_id(name)


def test_a_missing_root_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(RootError, match="does not exist"):
        Root(tmp_path / "no").prepare()
    (tmp_path / "file").touch()
    with pytest.raises(RootError, match="not a directory"):
        Root(tmp_path / "file").prepare()


def test_a_root_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / ".workcells").touch()  # in the way, for root too
    with pytest.raises(RootError, match="cannot write"):
        Root(tmp_path).prepare()


def test_only_directories_are_workcells(root: Root, tmp_path_factory: pytest.TempPathFactory) -> None:
    (root.workcells / "real").mkdir()
    (root.workcells / "inside").symlink_to(root.workcells / "real")
    (root.workcells / "outside").symlink_to(tmp_path_factory.mktemp("outside"))
    (root.workcells / "file").touch()
    (root.workcells / "bad id").mkdir()
    (root.workcells / "lent").mkdir()
    (root.workcells / "lent" / "telemetry.jsonl").symlink_to(tmp_path_factory.mktemp("secrets") / "passwd")
    assert root.ids() == ["lent", "real"]
    assert root.links() == ["inside", "outside"]
    assert not any(map(root.holds, root.links()))
    assert "symbolic link" in root.oddity("outside")
    assert "symbolic link" in root.oddity("lent")
    assert root.oddity("real") == ""


def test_an_origin_stays_the_same_and_differs_between_roots(
    root: Root, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = Root(tmp_path_factory.mktemp("other"))
    assert root.ensure_origin() == Root(root.directory).ensure_origin() == Root(root.directory).origin()
    assert root.ensure_origin() != other.ensure_origin()


def test_a_copied_root_has_an_origin_of_its_own_even_before_it_is_written(root: Root, tmp_path: Path) -> None:
    original = root.ensure_origin()
    copy = tmp_path / "copy"
    shutil.copytree(root.workcells, copy / ".workcells")
    content = (copy / ".workcells/.workcast/origin").read_bytes()
    read = Root(copy).origin()
    assert (copy / ".workcells/.workcast/origin").read_bytes() == content
    assert read not in ("", original)
    assert Root(copy).ensure_origin() == Root(copy).ensure_origin() == Root(copy).origin() == read
    assert Root(root.directory).ensure_origin() == original


def test_a_copy_of_a_copy_and_a_restored_root_have_other_origins(root: Root, tmp_path: Path) -> None:
    origins = [root.ensure_origin()]
    for name in ("first", "second"):
        shutil.copytree(root.workcells, tmp_path / name / ".workcells")
        root = Root(tmp_path / name)
        origins.append(root.ensure_origin())
    assert len(set(origins)) == 3


def test_a_moved_root_keeps_its_origin(root: Root, tmp_path: Path) -> None:
    origin = root.ensure_origin()
    moved = Root(tmp_path / "moved")
    moved.directory.mkdir()
    root.workcells.rename(moved.workcells)
    assert moved.origin() == moved.ensure_origin() == origin


def test_a_state_directory_that_was_made_again_gets_the_origin_of_the_process_that_runs(root: Root) -> None:
    origin = root.ensure_origin()
    shutil.rmtree(root.state)
    assert root.origin() == origin
    assert root.ensure_origin() == Root(root.directory).origin() == origin


def test_an_origin_without_a_place_is_not_adopted_as_every_clone_may_have_it(root: Root) -> None:
    (root.state / "origin").write_text("0123456789abcdef\n")
    shutil.copytree(root.workcells, root.directory / "copy" / ".workcells")
    read = root.origin()
    assert read == Root(root.directory).ensure_origin() == Root(root.directory).origin()
    assert len({read, Root(root.directory / "copy").ensure_origin(), "0123456789abcdef"}) == 3


@pytest.mark.parametrize("kind", ["fifo", "link", "garbage"])
def test_what_is_no_origin_is_replaced(root: Root, kind: str) -> None:
    path = root.state / "origin"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to(root.directory / "elsewhere")
        (root.directory / "elsewhere").write_text("0123456789abcdef\n")
    else:
        path.write_bytes(b"\xff" * 100_000)
    assert root.origin() == ""
    assert root.ensure_origin() == Root(root.directory).origin() != ""
    assert path.is_file()
    assert not path.is_symlink()


def test_reading_an_origin_creates_none(root: Root) -> None:
    assert root.origin() == ""
    assert list(root.state.iterdir()) == []


def test_a_state_file_is_replaced_whole_with_its_mode(root: Root) -> None:
    root.write_state("x.json", '{"a":1}', mode=0o600)
    root.write_state("x.json", '{"a":2}', mode=0o600)
    assert root.read_state("x.json") == {"a": 2}
    assert stat.S_IMODE((root.state / "x.json").stat().st_mode) == 0o600
    assert list(root.state.glob(".x*")) == []
