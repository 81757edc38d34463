"""The same workcell id from two roots: refused, and not shown as an own workcell."""

from __future__ import annotations

import pytest

from support.gateway import Gateway, get
from support.logs import event_line, write_log
from support.viewers import Viewer, head_of, running_hub, running_relay
from support.waiting import wait_until, wait_until_async
from workcast.broker.root import Root


async def test_a_subscription_to_a_workcell_of_another_root_is_refused(
    root: Root, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = Root(tmp_path_factory.mktemp("other"))
    other.prepare()
    write_log(other, "wc", [event_line(0)])
    write_log(other, "theirs", [event_line(1)])
    with running_relay(other, redis_url):
        async with running_hub(other, redis_url) as hub:
            await wait_until_async(lambda: head_of(hub, "wc") == 1)
    write_log(root, "wc", [event_line(100)])
    async with running_hub(root, redis_url) as hub, Viewer(hub) as viewer:
        viewer.subscribe("wc")
        error = await viewer.until_op("error")
        assert (error["code"], error["workcell"]) == ("origin_conflict", "wc")
        viewer.subscribe("theirs")
        assert (await viewer.until_op("subscribed"))["workcell"] == "theirs"


def test_rest_does_not_mix_another_roots_summary_with_own_files(
    root: Root, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = Root(tmp_path_factory.mktemp("other"))
    other.prepare()
    write_log(other, "wc", [event_line(0)])
    with running_relay(other, redis_url), Gateway(other, redis_url).running() as theirs:
        wait_until(lambda: get(theirs, "/api/workcells/wc").json()["summary"]["head"] == 1)
    write_log(root, "wc", [event_line(100)])
    with Gateway(root, redis_url).running() as gateway:
        wait_until(lambda: get(gateway, "/api/workcells/wc").json()["summary"]["activity"])
        for path in ("events", "events/0", "account"):
            refused = get(gateway, f"/api/workcells/wc/{path}")
            assert refused.status_code == 409
            assert refused.json()["detail"] == "'wc' of another root is published here; rename one of the two"
        found = get(gateway, "/api/search").json()
        assert (found["hits"], found["skipped"], found["complete"]) == ([], 1, False)
        (listed,) = get(gateway, "/api/workcells").json()["workcells"]
        assert (listed["hasTelemetry"], listed["toolchain"]) == (True, None)
        summary = listed["summary"]
        assert (summary["origin"], summary["head"], summary["status"]) == (root.origin(), 0, "new")
        assert "of another root is published here" in summary["activity"]


def test_a_search_leaves_out_a_log_that_another_root_has_published(
    root: Root, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Even one with the same lines, and so the same epoch."""
    other = Root(tmp_path_factory.mktemp("other"))
    other.prepare()
    root.ensure_origin()
    for place in (other, root):
        write_log(place, "wc", [event_line(0)])
    with running_relay(other, redis_url), Gateway(other, redis_url).running() as theirs:
        wait_until(lambda: len(get(theirs, "/api/search").json()["hits"]) == 1)
    with Gateway(root, redis_url).running() as gateway:
        found = get(gateway, "/api/search").json()
        assert (found["hits"], found["skipped"], found["complete"]) == ([], 1, False)
