"""``import``: makes a workcell of a session that an agent has kept on disk."""

from __future__ import annotations

from pathlib import Path

import typer

from workcast.broker.root import Root
from workcast.broker.running import find_up, served
from workcast.producer.transcripts.importing import import_session


def import_transcript(root: Root, file: Path, workcell: str | None) -> None:
    """Import a session, and print the workcell's id.

    Raises:
        WorkcastError: the root is missing, the file is not a transcript, the log cannot be written, or a run of this
            root has the session.
    """
    root.check()
    root = served(root)
    imported = import_session(root, file, workcell)
    typer.echo(imported)
    running = find_up(root)
    where = f"{running.http_url}/#/w/{imported}" if running else str(root.log(imported))
    typer.echo(f"{imported}: {where}", err=True)
