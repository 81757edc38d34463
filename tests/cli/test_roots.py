"""``up`` with several roots."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from support.logs import event_line, write_log
from support.processes import Program, Up, refusal, workcast
from support.waiting import wait_until
from workcast.broker.root import Root


@pytest.fixture
def two(tmp_path: Path) -> tuple[Root, Root]:
    for name in ("api", "web"):
        (tmp_path / name).mkdir()
    return Root(tmp_path / "api"), Root(tmp_path / "web")


def ids(up: Up) -> list[str]:
    return [item["id"] for item in httpx.get(f"{up.url}/api/workcells").json()["workcells"]]


def test_an_up_serves_several_roots_each_under_its_name(two: tuple[Root, Root]) -> None:
    api, web = two
    write_log(api, "wc", [event_line(1)])
    write_log(web, "wc", [event_line(n) for n in range(5)])
    with Up(api.directory, "--root", f"web={web.directory}") as up:
        up.show("wc", 1)
        up.show("web:wc", 5)
        assert ids(up) == ["wc", "web:wc"]
        write_log(web, "later", [event_line(1)])
        up.show("web:later", 1)
        page = httpx.get(f"{up.url}/api/workcells/web:wc/events?offset=3").json()
        assert (page["offset"], page["head"], len(page["events"])) == (3, 5, 2)
        assert up.state()["prefix"] == ""
        done = workcast("verify", "--root", str(web.directory))
        assert done.returncode == 0, done.stdout
        assert [line.split(b": ")[0] for line in done.stdout.splitlines()] == [b"web:later", b"web:wc"]
        with Program("tail", "wc", "--root", str(web.directory), "--json") as tail:
            assert len(tail.lines(5)) == 5
        run = workcast("run", "exec", "--workcell", "e", "--root", str(web.directory), "--", "echo", "hello")
        assert f"{up.url}/#/w/web:e" in run.stderr.decode()
        wait_until(lambda: "web:e" in ids(up))


def test_the_same_workcell_in_two_roots_without_names_is_refused_visibly(two: tuple[Root, Root]) -> None:
    api, web = two
    write_log(api, "wc", [event_line(1)])
    with Up(api.directory, "--root", str(web.directory)) as up:
        up.show("wc", 1)
        write_log(web, "wc", [event_line(2), event_line(3)])
        wait_until(lambda: "already published from another root" in up.err.replace("\n", " "))
        assert "give the roots names" in " ".join(up.err.split())
        assert ids(up) == ["wc"]
        assert httpx.get(f"{up.url}/api/workcells/wc/events").json()["head"] == 1


def test_roots_come_from_the_environment_like_a_path(two: tuple[Root, Root]) -> None:
    api, web = two
    write_log(api, "a", [event_line(1)])
    write_log(web, "b", [event_line(1)])
    environment = {"WORKCAST_ROOT": f"{api.directory}:w={web.directory}", "WORKCAST_PORT": "0"}
    with Program("up", env=environment) as up:
        url = up.lines(1)[0].strip()
        found = httpx.get(f"{url}/api/workcells").json()["workcells"]
        assert [item["id"] for item in found] == ["a", "w:b"]


@pytest.mark.parametrize(
    ("roots", "says"),
    [(["{0}", "x={0}"], "the directory {0} twice"), (["{0}", "bad name={0}"], "expected a root's name"),
     (["{0}", "{0}/none"], "does not exist")],
)  # fmt: skip
def test_roots_that_cannot_be_served_together_are_refused_in_one_sentence(
    tmp_path: Path, roots: list[str], says: str
) -> None:
    options = [word for root in roots for word in ("--root", root.format(tmp_path))]
    assert says.format(tmp_path) in refusal(workcast("up", "--port", "0", *options))


def test_each_of_several_roots_can_have_only_one_up(two: tuple[Root, Root]) -> None:
    api, web = two
    with Up(api.directory, "--root", str(web.directory)):
        text = refusal(workcast("up", "--port", "0", "--root", str(web.directory)))
        assert f"already serves {web.directory}" in text
