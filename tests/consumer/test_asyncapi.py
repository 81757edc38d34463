from __future__ import annotations

import json
import subprocess

from support.gateway import Gateway, get
from support.node import TOOLS, node
from workcast.consumer.asyncapi import document


def test_the_document_passes_its_own_tool() -> None:
    text = json.dumps(document("1.2.3"))
    done = subprocess.run(
        [*node(), str(TOOLS / "asyncapi-check.mjs")], input=text, cwd=TOOLS, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["3.0.0", "1", "16"]


def test_the_tool_sees_a_broken_document() -> None:
    broken = document("1.2.3")
    broken["operations"]["ask"]["channel"] = {"$ref": "#/channels/nowhere"}
    done = subprocess.run(
        [*node(), str(TOOLS / "asyncapi-check.mjs")],
        input=json.dumps(broken), cwd=TOOLS, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1


def test_the_gateway_serves_both_documents(gateway: Gateway) -> None:
    assert get(gateway, "/asyncapi.json").json()["channels"]["stream"]["address"] == "/api/stream"
    paths = get(gateway, "/docs").json()["paths"]
    assert {"/api/workcells", "/api/workcells/{workcell}/events", "/healthz", "/metrics"} <= set(paths)
