"""A study served by uvicorn: to this machine alone, unless it is told otherwise."""

from __future__ import annotations

import csv
import io
import os
import socket
from collections.abc import Callable
from pathlib import Path

from robustest.errors import ConfigError
from robustest_people.studies.desk import Desk
from robustest_people.studies.guard import Address, address_of
from robustest_people.studies.journal import Journal
from robustest_people.studies.pages import Pages, extra_missing
from robustest_people.studies.study import Study, open_study, write_private

JOURNAL = "journal.sqlite"
LINKS = "links.csv"


def open_journal(study: Study) -> Journal:
    """The journal of a study.

    Raises:
        StoreError: it is damaged, or of another study.
    """
    return Journal(study.folder / JOURNAL, study.digest)


def serve(folder: Path, *, host: str, port: int, public: str | None, tell: Callable[[Study, Address], None]) -> None:
    """Serve a study until the process is told to end.

    Args:
        folder: the study's.
        host: address to listen at.
        port: to listen at; 0 takes one that is free.
        public: what browsers see, where that is something else.
        tell: called once requests are taken, with the study and its address.

    Raises:
        ConfigError: the extra `study` is not installed, or addresses do not fit together.
        StoreError: study or journal are missing or damaged.
        OSError: the address cannot be listened at.
    """
    try:
        import uvicorn

        from robustest_people.studies.app import make_app
    except ModuleNotFoundError as error:
        raise extra_missing(error) from error
    address_of(host, port or 1, public)  # before anything is opened
    study = open_study(folder)
    pages = Pages(study)
    journal = open_journal(study)
    try:
        with listen(host, port) as listening:
            address = address_of(host, listening.getsockname()[1], public)
            app = make_app(Desk(study, journal), pages, folder / "images", address)
            _write_links(study, address)
            tell(study, address)
            # h11 bounds what a request's head may hold; no header of a proxy is believed.
            config = uvicorn.Config(
                app, http="h11", ws="none", lifespan="off", log_level="warning", access_log=False, server_header=False,
                proxy_headers=False, timeout_keep_alive=30, timeout_graceful_shutdown=10, limit_concurrency=1000,
                h11_max_incomplete_event_size=32_768,
            )  # fmt: skip
            uvicorn.Server(config).run(sockets=[listening])
    finally:
        journal.close()


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens at a host and a port; 0 takes one that is free.

    Raises:
        ConfigError: there is no such port.
        OSError: the address cannot be listened at.
    """
    if not 0 <= port <= 65535:
        raise ConfigError(f"Expected a port in 0..65535 but got {port}.")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sends at once (TCP_NODELAY) only where the protocol is named, which `socket.create_server` does not do; an
    # answer's head and body would otherwise lie 40 ms apart.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":  # elsewhere it would share the port
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(512)
    except BaseException:
        listening.close()
        raise
    return listening


def _write_links(study: Study, address: Address) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("annotator", "link"))
    for name, link in zip(study.annotators, study.keys.links, strict=True):
        writer.writerow((name, f"{address.base}/a/{link}"))
    write_private(study.folder / LINKS, text.getvalue())
