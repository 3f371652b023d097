"""A server in a process of its own: killed under load, sent what is no HTTP, and listening to this machine alone."""

from __future__ import annotations

import asyncio
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest
from robustest_people.studies.journal import Journal, Progress
from robustest_people.studies.serve import address_of, is_loopback, listen

from robustest.errors import ConfigError

Make = Callable[..., Any]


class Crowd:
    """Annotators in threads of their own, who write down what was acknowledged."""

    def __init__(self, read_form: Make, seed: int) -> None:
        self.read_form, self.seed = read_form, seed
        self.acknowledged: dict[tuple[str, int], tuple[str, ...]] = {}
        self.sent: dict[tuple[str, int], set[tuple[str, ...]]] = {}
        self.problems: list[str] = []

    def run(self, served: Any, pages: int, seconds: float) -> None:
        """Answer as fast as can be until the server is killed, some seconds after further pages were acknowledged."""
        last = len(self.acknowledged) + pages
        threads = [threading.Thread(target=self._answer, args=(served, name)) for name in served.links]
        for thread in threads:
            thread.start()
        latest = time.monotonic() + 60
        while len(self.acknowledged) < last and time.monotonic() < latest:
            time.sleep(0.001)
        time.sleep(seconds)  # at any moment of a request
        assert served.end(kill=True) == -9
        for thread in threads:
            thread.join(20)

    def _answer(self, served: Any, name: str) -> None:
        rng = random.Random(f"{self.seed} {name} {len(self.acknowledged)}")  # noqa: S311 - any answers do
        connection, link = served.connect(), served.links[name]
        try:
            with suppress(OSError, HTTPException):
                while (form := self.read_form(served.ask(connection, "GET", link))).action:
                    page = int(form.action.rpartition("/")[2])
                    boxes = [box for box in form.boxes if box != "none"]
                    ticked = rng.sample(boxes, rng.randint(1, len(boxes)))
                    answers = tuple("yes" if box in ticked else "no" for box in boxes)
                    self.sent.setdefault((name, page), set()).add(answers)
                    done = served.ask(connection, "POST", form.action, {**form.hidden, **dict.fromkeys(ticked, "on")})
                    if done.status == 303:
                        self.acknowledged[name, page] = answers
                    else:
                        self.problems.append(f"{name} {page}: {done.status}")
        finally:
            connection.close()


def kill_again_and_again(made: Any, serve: Make, read_form: Make, rounds: int) -> tuple[int, int]:
    """Pages acknowledged, and pages stored, over rounds of serving, answering and killing; each round is checked."""
    crowd, rng = Crowd(read_form, rounds), random.Random(rounds)  # noqa: S311
    stored: dict[tuple[str, int], tuple[str, ...]] = {}
    for _ in range(rounds):
        before = dict(stored)
        crowd.run(serve(made.folder), rng.randint(10, 60), rng.uniform(0, 0.02))
        journal, progress = Journal(made.folder / "journal.sqlite", made.digest), Progress(made)
        progress.follow(journal.read())  # an event whose answers are not whole does not fit, and is an error
        journal.close()
        stored = {(made.annotators[a], page): one.answers for (a, page), one in progress.stored.items()}
        assert crowd.problems == []
        assert before.items() <= stored.items()
        assert crowd.acknowledged.items() <= stored.items(), "an acknowledged page is lost or changed"
        assert all(answers in crowd.sent[key] for key, answers in stored.items()), "a page is stored that nobody sent"
        for (name, page), answers in stored.items():
            assert len(answers) == len(progress.pages[made.annotators.index(name)][page])
    resumed = serve(made.folder)
    connection = resumed.connect()
    for annotator, name in enumerate(made.annotators):
        answer = resumed.ask(connection, "GET", resumed.links[name])
        waiting = progress.open_pages(annotator)
        action = read_form(answer).action
        assert action == (f"{resumed.links[name]}/{waiting[0]}" if waiting else "")
    connection.close()
    resumed.end()
    return len(crowd.acknowledged), len(stored)


def test_no_acknowledged_page_is_lost_when_the_server_is_killed(
    study: Make, serve: Make, read_form: Make, files: Path
) -> None:
    made = many_pages(study, files, 1500)
    acknowledged, stored = kill_again_and_again(made, serve, read_form, 3)
    assert 20 < acknowledged <= stored < sum(map(len, made.plan.pages)), "load is needed when the server is killed"


@pytest.mark.slow
def test_no_acknowledged_page_is_lost_in_twenty_kills(study: Make, serve: Make, read_form: Make, files: Path) -> None:
    made = many_pages(study, files, 10_000)
    acknowledged, stored = kill_again_and_again(made, serve, read_form, 20)
    assert 200 < acknowledged <= stored < sum(map(len, made.plan.pages)), "load is needed when the server is killed"


def many_pages(study: Make, files: Path, items: int) -> Any:
    """A study with few images and many pages of four."""
    from robustest_people.studies import Item

    asked = [Item(item=str(n), image=f"{n % 30}.png", asked=f"label {n // 30}") for n in range(items)]
    return study(items=asked, annotators=8, each=4, page=4, checks=0)


def spoken(served: Any, request: bytes) -> bytes:
    """What a server says to bytes, until it hangs up or is silent for a second."""
    with socket.create_connection((served.host, served.port), timeout=1) as line:
        with suppress(OSError):
            line.sendall(request)
        told = b""
        with suppress(OSError):
            while part := line.recv(65_536):
                told += part
        return told


@pytest.mark.slow
def test_what_is_no_http_is_refused_and_the_server_goes_on(study: Make, serve: Make) -> None:
    served = serve(study().folder)
    host = f"Host: {served.host}:{served.port}\r\n".encode()
    origin = f"Origin: {served.base}\r\nContent-Type: application/x-www-form-urlencoded\r\n".encode()
    post = b"POST " + next(iter(served.links.values())).encode() + b"/0 HTTP/1.1\r\n" + host + origin
    fields = b"&".join(b"f%d=x" % n for n in range(5000))
    requests = {
        b"GET / HTTP/1.1\r\n" + host + b"\r\n": b"200",
        b"GET / HTTP/1.1\r\n\r\n": b"400",
        b"GET / HTTP/1.1\r\nHost: evil\r\n\r\n": b"421",
        b"nonsense\r\n\r\n": b"400",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03": b"400",
        b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\n" + host + b"\r\n": b"404 400",  # as it arrives: whole, or in parts
        b"GET / HTTP/1.1\r\n" + host + b"A: " + b"x" * 100_000 + b"\r\n\r\n": b"200 400",
        post + b"Content-Length: -1\r\n\r\n": b"400",
        post + b"Content-Length: x\r\n\r\n": b"400",
        post + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd": b"400",
        post + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n": b"400",
        post + b"Content-Length: %d\r\n\r\n" % len(fields) + fields: b"400",
        post + b"Content-Length: %d\r\n\r\n" % 2**20 + b"x" * 2**20: b"413",
        post + b"Transfer-Encoding: chunked\r\n\r\n" + b"100000\r\n" + b"x" * 2**20 + b"\r\n0\r\n\r\n": b"413",
        post + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\na=1": b"403",
    }
    for request, status in requests.items():
        told = spoken(served, request)
        lines = [line for line in told.split(b"\r\n") if line.startswith(b"HTTP/1.1 ") and b" 100 " not in line]
        assert lines, request[:80]
        assert lines[0].split()[1] in status.split(), (request[:80], lines)
        assert b"Traceback" not in told
    served.end()
    assert "Traceback" not in served.log.read_text()


def test_a_form_that_is_cut_off_stores_nothing(study: Make, serve: Make, read_form: Make) -> None:
    made = study()
    served = serve(made.folder)
    connection = served.connect()
    link = next(iter(served.links.values()))
    form = read_form(served.ask(connection, "GET", link))
    head = f"POST {form.action} HTTP/1.1\r\nHost: {served.host}:{served.port}\r\nOrigin: {served.base}\r\n"
    head += "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 500\r\n\r\n"
    with socket.create_connection((served.host, served.port), timeout=5) as line:
        line.sendall(head.encode() + f"token={form.hidden['token']}&a1=on".encode())
    time.sleep(0.2)
    assert read_form(served.ask(connection, "GET", link)).action == form.action
    connection.close()
    served.end()
    assert "Traceback" not in served.log.read_text()


def test_a_command_beside_the_server_is_heard(study: Make, serve: Make, read_form: Make) -> None:
    made = study()
    served = serve(made.folder)
    connection = served.connect()
    gone, other = (served.links[f"person {n}"] for n in (0, 1))
    form = read_form(served.ask(connection, "GET", gone))
    before = re.search(r"of (\d+)", served.ask(connection, "GET", other).text)
    command = [sys.executable, "-m", "robustest.cli", "study", "release", str(made.folder), "person 0"]
    subprocess.run(command, check=True, capture_output=True, timeout=60)  # noqa: S603 - ourselves
    assert served.ask(connection, "POST", form.action, {**form.hidden, "a1": "on"}).status == 409
    after = re.search(r"of (\d+)", served.ask(connection, "GET", other).text)
    assert before
    assert after
    assert int(after[1]) > int(before[1])
    connection.close()


def test_ctrl_c_ends_it_well(study: Make, serve: Make) -> None:
    served = serve(study().folder)
    with closing(served.connect()) as connection:  # its address is told before it listens to signals
        assert served.ask(connection, "GET", "/").status in (200, 404)
    served.process.send_signal(signal.SIGINT)
    assert served.process.wait(20) == 0
    assert "Traceback" not in served.log.read_text()


def test_only_this_machine_is_listened_to(study: Make, serve: Make) -> None:
    psutil = pytest.importorskip("psutil", reason="psutil tells what a process listens at")
    served = serve(study().folder)
    process = psutil.Process(served.process.pid)
    sockets = process.net_connections() if hasattr(process, "net_connections") else process.connections()  # psutil 5
    listening = [one.laddr.ip for one in sockets if one.status == "LISTEN"]
    assert listening == ["127.0.0.1"]


def test_links_are_for_the_owner_alone(study: Make, serve: Make) -> None:
    made = study()
    serve(made.folder)
    assert (made.folder / "links.csv").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("host", ["0.0.0.0", "::", ""])  # noqa: S104 - what is refused
def test_every_address_needs_a_name(host: str) -> None:
    with pytest.raises(ConfigError, match="Expected --public"):
        address_of(host, 80)


@pytest.mark.parametrize(
    "public",
    ["study.example.org", "ftp://a", "https://", "https://a/b", "https://a?b", "https://u@a", "http://a:x", ""],
)
def test_a_public_address_has_a_scheme_and_a_host_and_no_more(public: str) -> None:
    with pytest.raises(ConfigError, match="public address"):
        address_of("127.0.0.1", 80, public)


def test_names_are_those_of_the_address_and_no_other() -> None:
    assert address_of("127.0.0.1", 8000).hosts == {"127.0.0.1:8000", "localhost:8000", "[::1]:8000"}
    behind = address_of("0.0.0.0", 8000, "https://Study.example.org/")  # noqa: S104 - what is asked
    assert behind.base == "https://study.example.org"
    assert {"study.example.org", "0.0.0.0:8000"} >= behind.hosts - {"study.example.org:443"}
    assert "https://study.example.org" in behind.origins
    assert address_of("192.168.1.5", 80).hosts == {"192.168.1.5:80", "192.168.1.5"}
    assert [is_loopback(h) for h in ("127.0.0.1", "::1", "localhost", "192.168.1.5", "example.org")] == [True] * 3 + [
        False
    ] * 2


MISSING = """
import sys
from importlib.abc import MetaPathFinder
class Gone(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.split(".")[0] in {gone!r}:
            raise ModuleNotFoundError("No module named " + name, name=name)
sys.meta_path.insert(0, Gone())
from robustest.cli import main
sys.exit(main({arguments!r}))
"""


@pytest.mark.parametrize("gone", ["starlette", "uvicorn", "jinja2"])
def test_without_the_extra_serving_names_it_and_the_rest_works(study: Make, gone: str) -> None:
    folder = str(study().folder)
    for arguments, code in (
        (["study", "serve", folder, "--port", "0"], 2),
        (["study", "status", folder], 0),
        (["study", "export", folder], 0),
    ):
        script = MISSING.format(gone=[gone], arguments=arguments)
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)  # noqa: S603
        assert done.returncode == code, done.stderr
        assert ("pip install 'robustest-people[study]'" in done.stderr) == (code == 2)
        assert "Traceback" not in done.stderr


def test_the_command_line_loads_neither_torch_nor_servers_for_it(study: Make) -> None:
    folder = str(study().folder)
    heavy = ["torch", "starlette", "uvicorn", "jinja2", "anyio"]
    code = f"import sys; from robustest.cli import main; main(['study', 'status', {folder!r}]); "
    code += f"print(sorted(set(sys.modules) & set({heavy!r})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)  # noqa: S603
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_plugin_brings_in_no_study() -> None:
    code = "import sys, robustest, robustest.pytest_plugin; print([m for m in sys.modules if 'studies' in m])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)  # noqa: S603
    assert done.stdout.strip() == "[]"


def test_answers_are_sent_at_once() -> None:
    """Nagle's algorithm would hold an answer's body back until its head is acknowledged: 40 ms a request."""
    seen = []

    async def meet() -> None:
        met = asyncio.Event()

        async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            seen.append(writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()
            met.set()

        with listen("127.0.0.1", 0) as listening:
            port = listening.getsockname()[1]
            async with await asyncio.start_server(answer, sock=listening):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                await asyncio.wait_for(met.wait(), 10)
                writer.close()

    asyncio.run(meet())
    assert [bool(value) for value in seen] == [True]
