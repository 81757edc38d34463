"""The dashboard's build behind a proxy: npm and Node trust a certificate authority that only this machine has."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import ssl
import subprocess
import sys
import tarfile
import threading
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
CERTIFICATES = Path(__file__).parent / "certificates"
AUTHORITY = str(CERTIFICATES / "authority.pem")


def package() -> bytes:
    """An npm package whose only export is a text."""
    files = {"package.json": b'{"name":"tiny","version":"1.0.0"}', "index.js": b"module.exports = 'from the registry';"}
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return archive.getvalue()


PACKAGE = package()


class Registry(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = PACKAGE if self.path.endswith(".tgz") else b"{}"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name
        pass


@pytest.fixture(scope="module")
def registry() -> Generator[str]:
    """The address of a server whose certificate is signed by the private authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATES / "server.pem")
    with ThreadingHTTPServer(("127.0.0.1", 0), Registry) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"https://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def run(home: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python in the repository with no setting of this machine, except for ``environment``."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=REPOSITORY,
        env={"PATH": os.environ["PATH"], "HOME": str(home), "npm_config_cache": str(home / "npm"), **environment},
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )


def ping(home: Path, registry: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Ping the registry with npm, as the Makefile runs it."""
    return run(home, "hatch_build.py", "npm", "ping", f"--registry={registry}", "--fetch-retries=0", **environment)


def build(home: Path, registry: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Build a dashboard whose only dependency comes from the registry, and whose build script fetches from it too."""
    ui = home / "ui"
    ui.mkdir()
    url = f"{registry}/tiny.tgz"
    manifest = {"name": "ui", "dependencies": {"tiny": url}, "scripts": {"build": "node build.js"}}
    integrity = f"sha512-{base64.b64encode(hashlib.sha512(PACKAGE).digest()).decode()}"
    lock = {
        "name": "ui",
        "lockfileVersion": 3,
        "packages": {
            "": {"name": "ui", "dependencies": {"tiny": url}},
            "node_modules/tiny": {"version": "1.0.0", "resolved": url, "integrity": integrity},
        },
    }
    (ui / "package.json").write_text(json.dumps(manifest))
    (ui / "package-lock.json").write_text(json.dumps(lock))
    (ui / ".npmrc").write_text("fetch-retries=0\n")
    (ui / "build.js").write_text(
        f"fetch('{registry}').then(() => require('fs').writeFileSync('../built.txt', require('tiny')))"
    )
    code = f"import pathlib, hatch_build; hatch_build.build_ui(pathlib.Path({str(home)!r}))"
    return run(home, "-c", code, **environment)


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"])
def test_npm_trusts_the_certificates_that_pip_trusts(tmp_path: Path, registry: str, name: str) -> None:
    done = ping(tmp_path, registry, **{name: AUTHORITY})
    assert done.returncode == 0, done.stderr
    assert "PONG" in done.stderr


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "PIP_CERT"])
def test_the_build_installs_and_fetches_behind_a_private_certificate_authority(
    tmp_path: Path, registry: str, name: str
) -> None:
    done = build(tmp_path, registry, **{name: AUTHORITY})
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "built.txt").read_text() == "from the registry"


def test_without_the_authority_npm_refuses_the_registry_and_the_build_says_so(tmp_path: Path, registry: str) -> None:
    done = ping(tmp_path, registry)
    assert done.returncode != 0
    assert "UNABLE_TO_VERIFY_LEAF_SIGNATURE" in done.stderr
    done = build(tmp_path, registry, PIP_CERT=str(tmp_path / "missing.pem"))
    assert "'npm ci --no-audit --no-fund' failed" in done.stderr
    assert "UNABLE_TO_VERIFY_LEAF_SIGNATURE" in done.stderr


def test_options_for_node_that_are_set_already_are_kept(tmp_path: Path) -> None:
    for options in ("--no-warnings", "--use-system-ca --no-warnings"):
        done = run(
            tmp_path, "hatch_build.py", "npm", "exec", "-c", "node -p process.env.NODE_OPTIONS", NODE_OPTIONS=options
        )
        assert sorted(done.stdout.split()) == ["--no-warnings", "--use-system-ca"], done.stderr


def test_other_arguments_than_npm_are_refused(tmp_path: Path) -> None:
    done = run(tmp_path, "hatch_build.py", "yarn")
    assert (done.returncode, done.stderr) == (1, "expected no arguments, or npm and its arguments, got 'yarn'\n")
