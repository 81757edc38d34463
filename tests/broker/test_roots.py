from __future__ import annotations

from pathlib import Path

import pytest

from support.logs import event_line, write_log
from workcast.broker.errors import RootError, WorkcellIdError
from workcast.broker.history import History
from workcast.broker.log import natural_epoch
from workcast.broker.root import Root
from workcast.broker.roots import Roots, parse_root


@pytest.fixture
def api(tmp_path: Path) -> Root:
    (tmp_path / "api").mkdir()
    return Root(tmp_path / "api", "api")


@pytest.fixture
def plain(tmp_path: Path) -> Root:
    (tmp_path / "plain").mkdir()
    return Root(tmp_path / "plain")


def test_a_roots_name_goes_before_the_ids_of_its_workcells(api: Root, plain: Root) -> None:
    write_log(api, "api:wc", [event_line(1)])
    write_log(plain, "wc", [event_line(2)])
    assert (api.workcells / "wc" / "telemetry.jsonl").exists()
    roots = Roots(api, plain)
    assert roots.ids() == ["api:wc", "wc"]
    assert [roots.of(workcell).directory.name for workcell in roots.ids()] == ["api", "plain"]


def test_history_reads_each_workcell_from_its_own_root(api: Root, plain: Root) -> None:
    write_log(api, "api:wc", [event_line(1)])
    write_log(plain, "wc", [event_line(2)])
    history = History(Roots(api, plain))
    assert history.read("api:wc", natural_epoch(event_line(1)), 0, 9) == [event_line(1)]
    assert history.read("wc", natural_epoch(event_line(2)), 0, 9) == [event_line(2)]
    assert history.extent("other:wc") is None


def test_of_two_roots_without_a_name_the_first_one_is_meant(plain: Root, tmp_path: Path) -> None:
    (tmp_path / "second").mkdir()
    second = Root(tmp_path / "second")
    write_log(plain, "wc", [event_line(1)])
    write_log(second, "wc", [event_line(2)])
    write_log(second, "other", [event_line(3)])
    roots = Roots(plain, second)
    assert roots.ids() == ["other", "wc"]
    assert roots.of("wc") is plain
    assert roots.of("other") is second


@pytest.mark.parametrize("workcell", ["wc:x", "other:wc", "api:"])
def test_an_id_of_no_root_here_is_refused(api: Root, plain: Root, workcell: str) -> None:
    with pytest.raises(WorkcellIdError):
        Roots(api, plain).of(workcell)
    with pytest.raises(WorkcellIdError):
        plain.log(workcell)


def test_the_state_files_of_a_log_are_named_after_its_directory(api: Root) -> None:
    api.log_state("api:wc").write_epoch(7)
    assert api.log_state("api:wc").written_epoch() == (7,)
    assert Root(api.directory).log_state("wc").written_epoch() == (7,)  # so that a root may get a name, or lose it


def test_roots_that_are_the_same_or_share_a_name_are_refused(api: Root, plain: Root, tmp_path: Path) -> None:
    with pytest.raises(RootError, match=r"the directory .*api twice"):
        Roots(api, Root(api.directory, "x"))
    with pytest.raises(RootError, match="the name api twice"):
        Roots(api, Root(tmp_path, "api"))
    with pytest.raises(RootError, match="at least one"):
        Roots()


def test_a_root_is_given_as_a_directory_with_or_without_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a=b").mkdir()
    given = {"x": ("", "x"), "api=x": ("api", "x"), "a=b": ("", "a=b"), "w=/srv/x=y": ("w", "/srv/x=y")}
    for text, (name, directory) in given.items():
        root = parse_root(Path(text))
        assert (root.name, root.directory) == (name, tmp_path / directory)
    assert parse_root(tmp_path / "c=d").name == ""
    with pytest.raises(RootError, match="expected a root's name"):
        parse_root(Path("no name=x"))
