"""How a study's server bears many annotators at once: how long they wait, and what a request costs the server.

A study of 10,000 images is made and served on this machine alone, by `robustest study serve` in a process of its own.
Annotators, each with six connections as browsers have, open a page of 48 images, load them all, think, and send.
Waiting is measured where they are, so it holds the clients' own share of the machine, too; the server's CPU seconds are
those of its process.

    python benchmarks/study_load.py [annotators] [seconds] [thought]
"""

from __future__ import annotations

import asyncio
import csv
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import numpy as np
import psutil
from PIL import Image

ANNOTATORS = int(sys.argv[1]) if len(sys.argv) > 1 else 50
SECONDS = float(sys.argv[2]) if len(sys.argv) > 2 else 40
THOUGHT = float(sys.argv[3]) if len(sys.argv) > 3 else 3
ITEMS, CONNECTIONS = 10_000, 6
WAIT_BAR, COST_BAR = 0.300, 0.001


class Connection:
    """One connection that is kept; the least of HTTP that a browser speaks."""

    def __init__(self, base: str) -> None:
        self.base, self.address = base, urlsplit(base)

    async def open(self) -> Connection:
        self.reader, self.writer = await asyncio.open_connection(self.address.hostname, self.address.port)
        return self

    async def ask(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        head = f"{method} {path} HTTP/1.1\r\nHost: {self.address.netloc}\r\n"
        if method == "POST":
            head += f"Origin: {self.base}\r\nContent-Type: application/x-www-form-urlencoded\r\n"
            head += f"Content-Length: {len(body)}\r\n"
        self.writer.write(head.encode() + b"\r\n" + body)
        told = await self.reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", told)
        return int(told[9:12]), await self.reader.readexactly(int(length[1]) if length else 0)


class Annotator:
    """Answers pages until time is up, and notes how long each request took."""

    def __init__(self, base: str, link: str, waits: dict[str, list[float]]) -> None:
        self.base, self.link, self.waits = base, link, waits
        self.random = random.Random(link)

    async def run(self, end: float) -> None:
        self.lines = [await Connection(self.base).open() for _ in range(CONNECTIONS)]
        await asyncio.sleep(self.random.uniform(0, THOUGHT))
        while time.monotonic() < end:
            started = time.monotonic()
            status, page = await self.timed("page", self.lines[0], "GET", self.link)
            form = re.search(rb'action="([^"]+)"', page)
            if status != 200 or form is None:
                return
            paths = re.findall(r'src="(/a/[^"]+)"', page.decode())
            await asyncio.gather(*(self.load(line, paths[k::CONNECTIONS]) for k, line in enumerate(self.lines)))
            self.waits["page with its images"].append(time.monotonic() - started)
            await asyncio.sleep(THOUGHT)
            await self.send(form[1].decode(), page.decode(), len(paths))

    async def load(self, line: Connection, paths: list[str]) -> None:
        for path in paths:
            await self.timed("image", line, "GET", path)

    async def send(self, action: str, page: str, count: int) -> None:
        token = re.search(r'name="token" value="([^"]+)"', page)
        ticked = self.random.sample(range(1, count + 1), count // 2)
        body = urlencode({"token": token[1] if token else "", **{f"a{n}": "on" for n in ticked}}).encode()
        status, _ = await self.timed("answers", self.lines[0], "POST", action, body)
        if status != 303:
            raise SystemExit(f"a page was not taken: {status}")

    async def timed(self, kind: str, line: Connection, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        started = time.monotonic()
        answer = await line.ask(method, path, body)
        self.waits[kind].append(time.monotonic() - started)
        return answer


def prepare(folder: Path) -> Path:
    """A study, made by the command line as anybody makes one."""
    generator = np.random.default_rng(0)
    with (folder / "items.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("item", "image", "asked"))
        for number in range(ITEMS):
            Image.fromarray(generator.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(folder / f"{number}.png")
            writer.writerow((number, f"{number}.png", f"label {number % 10}"))
    robustest = [sys.executable, "-m", "robustest.cli", "study"]
    new = ["new", str(folder / "study"), "--task", "contains", "--items", str(folder / "items.csv")]
    subprocess.run([*robustest, *new, "--annotators", str(ANNOTATORS), "--each", str(min(9, ANNOTATORS))], check=True)
    return folder / "study"


def main() -> None:
    waits: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as name:
        study = prepare(Path(name))
        command = [sys.executable, "-m", "robustest.cli", "study", "serve", str(study), "--port", "0"]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            base = server.stdout.readline().split(" at ")[1].strip()
            with (study / "links.csv").open() as file:
                links = [urlsplit(row["link"]).path for row in csv.DictReader(file)]
            process = psutil.Process(server.pid)
            before, busy, own = process.cpu_times(), psutil.cpu_times(), time.process_time()
            asyncio.run(crowd(base, links, waits))
            after, busier, spent = process.cpu_times(), psutil.cpu_times(), time.process_time() - own
        finally:
            server.terminate()
            server.wait(20)
            server.stdout.close()
    told = after.user + after.system - before.user - before.system
    others = sum(busier) - sum(busy) - (busier.idle - busy.idle) - told - spent
    tell(waits, told, others)


async def crowd(base: str, links: list[str], waits: dict[str, list[float]]) -> None:
    end = time.monotonic() + SECONDS
    await asyncio.gather(*(Annotator(base, link, waits).run(end) for link in links))


def tell(waits: dict[str, list[float]], cpu: float, others: float) -> None:
    """Print the waits by kind, the cost of a request, and whether the bars are met."""
    print(f"{ANNOTATORS} annotators, {THOUGHT:g} s of thought, {SECONDS:g} s; others took {others:.1f} CPU s meanwhile")
    requests = [wait for kind, own in waits.items() if " " not in kind for wait in own]
    for kind, own in [*waits.items(), ("every request", requests)]:
        p50, p95, p99 = 1000 * np.quantile(own, (0.5, 0.95, 0.99))
        print(f"{kind:22} {len(own):7,}  p50 {p50:7.1f}  p95 {p95:7.1f}  p99 {p99:7.1f}  max {1000 * max(own):7.1f} ms")
    cost = cpu / len(requests)
    print(f"server: {cpu:.1f} CPU s for {len(requests):,} requests, {1000 * cost:.3f} ms each")
    kept = np.quantile(requests, 0.95) < WAIT_BAR and cost < COST_BAR
    print("every bar is met" if kept else "NOT every bar is met")


if __name__ == "__main__":
    main()
