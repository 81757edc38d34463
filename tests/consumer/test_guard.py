from __future__ import annotations

import pytest
from starlette.datastructures import Headers

from workcast.consumer.guard import LOOPBACK, refusal


def headers(*pairs: tuple[str, str]) -> Headers:
    return Headers(raw=[(name.encode(), value.encode("latin-1")) for name, value in pairs])


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:8787",
        "LOCALHOST:8787",
        "127.0.0.1",
        "127.0.0.1:1",
        "[::1]",
        "[::1]:8787",
    ],
)
@pytest.mark.parametrize("scheme", ["http", "https", None])
def test_own_names_and_pages_are_admitted(host: str, scheme: str | None) -> None:
    given = [("host", host)] + ([("origin", f"{scheme}://{host.lower()}")] if scheme else [])
    assert refusal(headers(*given), LOOPBACK) is None


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "evil.example:8787",
        "localhost.evil.example",
        "evil-localhost",
        "127.0.0.1.evil.example",
        "localhost@evil.example",
        "evil.example@localhost",
        "user:secret@127.0.0.1:8787",
        "127.0.0.1:8787@evil.example",
        "localhost:port",
        "localhost:",
        "localhost:99999999",
        "localhost/evil",
        "localhost?evil",
        "localhost#evil",
        "localhost\\@evil.example",
        "localhost\t",
        " localhost",
        "localhost,evil.example",
        "::1",
        "[::1",
        "::1]",
        "[::1]evil",
        "[::2]",
        "[localhost]",
        "0.0.0.0",
        "2130706433",
        "127.1",
    ],
)
def test_every_other_host_is_refused(host: str) -> None:
    assert "expected one Host among" in str(refusal(headers(("host", host)), LOOPBACK))
    # A page reached under that name would also send it as its origin.
    assert refusal(headers(("host", host), ("origin", f"http://{host}")), LOOPBACK) is not None


@pytest.mark.parametrize(
    "origin",
    [
        "",
        "null",
        "http://evil.example",
        "http://evil.example:8787",
        "http://localhost",
        "http://localhost:8788",
        "http://127.0.0.1:8787",
        "http://localhost:8787.evil.example",
        "http://localhost:8787@evil.example",
        "http://evil@localhost:8787",
        "http://localhost:8787/path",
        "http://localhost:8787?",
        "ftp://localhost:8787",
        "chrome-extension://localhost:8787",
        "localhost:8787",
        "//localhost:8787",
        "http://[::1",
        "http://[",
    ],
)
def test_every_foreign_origin_is_refused(origin: str) -> None:
    reason = refusal(headers(("host", "localhost:8787"), ("origin", origin)), LOOPBACK)
    assert "expected no Origin or that of localhost:8787" in str(reason)


def test_a_request_without_a_host_is_refused() -> None:
    assert refusal(headers(), LOOPBACK) is not None
    assert refusal(headers(("origin", "http://localhost:8787")), LOOPBACK) is not None


def test_a_second_host_or_origin_is_checked_as_well() -> None:
    assert refusal(headers(("host", "localhost"), ("host", "evil.example")), LOOPBACK) is not None
    ours, foreign = ("origin", "http://localhost"), ("origin", "http://evil.example")
    assert refusal(headers(("host", "localhost"), ours, foreign), LOOPBACK) is not None


def test_a_refusal_quotes_only_a_part_of_a_long_header() -> None:
    assert len(str(refusal(headers(("host", "x" * 10_000)), LOOPBACK))) < 400
