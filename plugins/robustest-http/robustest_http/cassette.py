"""A cassette: the replies of a server in a file, from which a gate is repeated without the server.

A line of the file is a JSON object. The first one names the format; each further one has a reply, and for each sample
of its request a digest of the request that would ask about this sample alone. So a replay finds the answer to a sample
in whatever batch it is asked about, and decodes the same reply with the same code.

Each line has the digest of itself and of the line before it ("chain"), so that a line that was edited, left out or
moved is found when the file is read. The last one is the digest of the whole cassette.

Where a sample was asked about several times, a replay gives the answers in their order: a server that answers at random
does so in the replay too.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robustest.errors import ConfigError, StoreError, expected

_FORMAT = "robustest-http cassette 1"
_MOST_BYTES = 1 << 32


@dataclass(frozen=True, slots=True)
class Taken:
    """One recorded reply: its JSON, or the failure of the request.

    Attributes:
        reply: the JSON.
        of: number of samples of the request.
        failure: message of the failure; None for a reply.
        again: True if a request may be repeated after the failure.
    """

    reply: Any
    of: int
    failure: str | None = None
    again: bool = False


class Cassette:
    """Replies of servers in a file; pass it as `cassette=` to the models and functions of a gate.

    A recording asks the servers, and writes every reply; nothing is recalled from earlier runs, so that all replies are
    there. A replay asks nobody and needs no secrets. A request that was not recorded is an error, as it is with other
    samples, another seed or another `encode`.

    No secret is written: headers and requests are written as digests alone, addresses without their query, and replies
    without the secrets of `auth=`.
    """

    # Slots, so that copies of a model, which health checks make, share it.
    __slots__ = ("_asked", "_begun", "_chain", "_lacking", "_lines", "_lock", "_places", "_process", "path", "records")

    def __init__(self, path: str | os.PathLike[str], *, record: bool = False, digest: str | None = None) -> None:
        """Open a cassette.

        Args:
            path: the file, with lines of JSON. A recording makes it.
            record: True to record, False to replay.
            digest: `digest` of the cassette that is meant; a replay of another one is refused. Without it a file that
                was written anew, with digests of its own, is not told from the recorded one.

        Raises:
            ConfigError: an argument is invalid, or there is no such file to replay.
            StoreError: the file is no cassette, or was changed after the recording, or is not the one of `digest`.
        """
        if not isinstance(path, (str, os.PathLike)) or not isinstance(os.fspath(path), str):
            raise ConfigError(expected("path to be the path of a file", path))
        if not isinstance(record, bool):
            raise ConfigError(expected("record to be True or False", record))
        if digest is not None and (record or not isinstance(digest, str)):
            raise ConfigError(expected("digest to be that of the cassette to replay, or None", digest))
        self.path = Path(path)
        self.records = record
        self._begun = False
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._chain = ""
        self._lines: list[Taken] = []
        # By the digest of a request about one sample: places of its replies, as line and row.
        self._places: dict[str, list[tuple[int, int]]] = {}
        self._asked: Counter[str] = Counter()
        self._lacking = ""
        if not record:
            self._read()
            if digest is not None and digest != self._chain:
                raise StoreError(
                    f"Expected the cassette {self.path} with the digest {digest} but it has {self._chain}."
                )

    @property
    def digest(self) -> str:
        """SHA-256 of what was recorded, as 64 hex digits."""
        return self._chain

    def robustest_fingerprint(self) -> str:
        if self.records:
            raise ConfigError(
                f"Expected nothing to be recalled while the cassette {self.path} is recorded: it shall have all replies"
            )
        return f"cassette {self._chain}"

    def add(self, asked: Sequence[str], taken: Taken) -> None:
        """Write a reply to a request about samples with these digests.

        Raises:
            ConfigError: the file exists already, or another process records.
        """
        line: dict[str, Any] = {"asked": list(asked)}
        if taken.failure is None:
            line["reply"] = taken.reply
        else:
            line |= {"failure": taken.failure, "again": taken.again}
        with self._lock:
            if os.getpid() != self._process:
                raise ConfigError(
                    f"Expected one process to record the cassette {self.path} but another one began to. Record without "
                    "workers."
                )
            try:
                if not self._begun:
                    self._write({"format": _FORMAT}, mode="x")
                    self._begun = True
                self._write(line, mode="a")
            except FileExistsError:
                raise ConfigError(
                    f"Expected no file {self.path} before its recording but there is one. Remove it to record again; "
                    "models of one gate share one Cassette."
                ) from None
            except OSError as error:
                raise ConfigError(f"Expected to write the cassette {self.path} but got {error}.") from None

    def take(self, asked: str, what: str) -> tuple[Taken, int]:
        """Return the next reply to a request about one sample, and the row of the sample in it.

        Args:
            asked: digest of the request.
            what: the request in words, for the error.

        Raises:
            StoreError: it was not recorded, or an earlier request was not.
        """
        with self._lock:
            places = self._places.get(asked)
            if places is None and not self._lacking:
                self._lacking = (
                    f"Expected the cassette {self.path} to have the reply to {what} but this request was not recorded: "
                    "the samples, the seed, the settings or the code of the request are others. Record the gate again."
                )
            # For all that follows too: code that asks a model on trial may have taken the error for the model's.
            if places is None or self._lacking:
                raise StoreError(self._lacking)
            place, row = places[min(self._asked[asked], len(places) - 1)]
            self._asked[asked] += 1
            return self._lines[place], row

    def _write(self, line: Mapping[str, Any], *, mode: str) -> None:
        content = _content(line)
        chain = digest_of(self._chain, content)
        # Opened for each line: a recording that is killed has all that was answered.
        with self.path.open(mode, encoding="ascii") as file:
            file.write(f'{content[:-1]}, "chain": "{chain}"}}\n')
        self._chain = chain

    def _read(self) -> None:
        try:
            size = self.path.stat().st_size
            if size > _MOST_BYTES or not self.path.is_file():
                raise StoreError(f"Expected the cassette {self.path} to be a file of at most {_MOST_BYTES} bytes.")
            text = self.path.read_bytes()
        except OSError as error:
            raise ConfigError(
                f"Expected a cassette {self.path} but it cannot be read ({error.strerror}). Record it first: "
                "Cassette(path, record=True)"
            ) from None
        for number, written in enumerate(text.splitlines(keepends=True), 1):
            self._take_up(number, written)
        if not self._chain:
            raise StoreError(f"Expected the cassette {self.path} to have lines but it is empty. Record it again.")

    def _take_up(self, number: int, written: bytes) -> None:
        """Check and keep a line."""
        changed = f"Expected the cassette {self.path} as it was recorded but line {number}"
        try:
            line = json.loads(written)
            chain = line.pop("chain")
            content = _content(line)
        except (ValueError, RecursionError, AttributeError, TypeError, KeyError):
            raise StoreError(f"{changed} is not whole. Record it again.") from None
        if not written.endswith(b"\n") or chain != digest_of(self._chain, content):
            raise StoreError(
                f"{changed} has another digest: it or a line before it was edited, moved or left out. Record it again."
            )
        self._chain = chain
        if number == 1:
            if line != {"format": _FORMAT}:
                raise StoreError(f"Expected the cassette {self.path} to be a {_FORMAT} but got {line!r:.200}.")
            return
        asked = line.get("asked")
        if not isinstance(asked, list) or not asked or not ({"reply", "failure"} & line.keys()):
            raise StoreError(f"{changed} has no request or no reply. Record it again.")
        for row, digest in enumerate(asked):
            self._places.setdefault(str(digest), []).append((len(self._lines), row))
        self._lines.append(Taken(line.get("reply"), len(asked), line.get("failure"), line.get("again") is True))


def digest_of(*parts: str | bytes) -> str:
    """Return SHA-256 of texts and bytes, each by its length first, as 64 hex digits."""
    found = hashlib.sha256()
    for part in parts:
        content = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        found.update(len(content).to_bytes(8, "little") + content)
    return found.hexdigest()


def _content(line: Mapping[str, Any]) -> str:
    """Return the JSON of a line; arrays are lists in it."""
    return json.dumps(line, default=lambda array: array.tolist())
