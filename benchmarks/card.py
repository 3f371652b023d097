"""A day with a card: one command that runs whatever needs an accelerator, and writes the table for RESULTS.md.

    tox run -e card                                  # where tox and an index are
    python3 benchmarks/card.py [FOLDER]              # on a bare machine: python3 with torch, numpy, SciPy and pytest
    python3 benchmarks/card.py FOLDER --only tests pgd --minutes 9
    python3 benchmarks/card.py FOLDER --device cpu --quick

FOLDER is $OUT, or ./card, unless it is given; it gets card.json and card.md, written anew after each part. A part runs
in a process of its own with a time limit of its own, and all of them in 25 minutes or `--minutes`. A part that fails or
hangs is a row with its error, and the next one begins. What a part needs and the machine lacks (torchvision,
torchattacks) is a row with the reason. A FOLDER from before is gone on with: rows of other parts stay.

Nothing is downloaded, and the networks have random weights, which speeds do not depend on. They are labelled by their
own answers, and attacked at a radius at which nothing breaks, so that no batch is cut.

With `--device cpu` the parts run on the simulated device (`tests/second_device.py`), which computes on the host: the
figures say nothing then but that every part runs. `--quick` makes all of it tiny.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, replace
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

ROOT = Path(__file__).resolve().parent.parent
# Units of speed, and of a time over another one.
SPEEDS, TIMES = ("samples/s", "images/s", "noisy inputs/s", "GiB/s", "ms a sample"), "x"
MINUTES = 25
# A figure that is the difference between many samples and few, where that is not above zero.
UNTOLD = "not measured: many samples took no longer than few"
STEPS, RADIUS, DRAWS = 40, 1e-5, 1000


@dataclass(frozen=True)
class Row:
    """One figure of a part.

    Attributes:
        figure: a number, or words where there is none: counts of tests, an error, the reason for a gap.
        bar: the comparison that the figure has to keep, as "<= 1.1"; "" for none.
    """

    what: str
    figure: float | str
    unit: str = ""
    bar: str = ""

    @property
    def kept(self) -> bool | None:
        """True if the bar is met; None without a bar. Words meet none."""
        if not self.bar:
            return None
        sign, limit = self.bar.split()
        if isinstance(self.figure, str):
            return False
        return self.figure <= float(limit) if sign == "<=" else self.figure >= float(limit)


@dataclass(frozen=True)
class Card:
    """The device that the parts run on.

    Attributes:
        name: as `--robust-device` takes it: "cuda"; "cpu" stands for the simulated device.
    """

    name: str
    quick: bool

    @property
    def simulated(self) -> bool:
        return self.name == "cpu"

    @property
    def device(self) -> torch.device:
        import torch
        from second_device import FAR

        return FAR if self.simulated else torch.device(self.name, 0)

    @property
    def setting(self) -> str:
        """The value of `device=` of a claim; `inside` makes the simulated device the default one."""
        return "auto" if self.simulated else self.name

    @contextmanager
    def inside(self) -> Iterator[None]:
        """A block in which tensors may be on the device, in full float32 as robustest's measurements are."""
        import torch
        from second_device import FAR, far_device

        from robustest import devices
        from robustest.models.frozen import full_float32

        default: Any = devices.default
        block: AbstractContextManager[object] = far_device() if self.simulated else nullcontext()
        with torch.inference_mode(False), full_float32(), block:
            devices.default = (lambda: FAR) if self.simulated else default
            try:
                yield
            finally:
                devices.default = default

    def put(self, module: nn.Module) -> nn.Module:
        """Return a module on the device, inside the block."""
        from second_device import sent

        return sent(module) if self.simulated else module.to(self.device)

    def seconds(self, work: Callable[[], object]) -> float:
        """Return the seconds of a function by the clock, until the device has done all of it."""
        from robustest import devices

        devices.wait(self.device)
        started = time.perf_counter()
        work()
        devices.wait(self.device)
        return time.perf_counter() - started

    def bare(self, net: nn.Module, x: Tensor, passes: list[tuple[int, bool]]) -> float:
        """Return the seconds of passes of so many rows, forward alone or (True) backward too, and nothing else."""
        import torch

        net = self.put(net)
        net.requires_grad_(False)
        there = x[: max(rows for rows, _ in passes)].to(self.device)

        def run() -> None:
            for rows, back in passes:
                if back:
                    point = there[:rows].detach().requires_grad_(True)
                    torch.autograd.grad(net(point).logsumexp(1).sum(), point)
                else:
                    with torch.no_grad():
                        net(there[:rows])

        largest = max(passes)
        self.seconds(lambda: [net(there[: largest[0]]) for _ in range(3)])  # kernels are chosen by the first passes
        return self.seconds(run)


# The parts


def noted(net: nn.Module) -> tuple[nn.Module, list[tuple[int, bool]]]:
    """Return a network with the list of its passes: rows, and True if they are followed by one backward.

    The list is that of all copies of the network, also of that which a claim moves to its device.
    """
    import torch
    from torch import nn

    passes: list[tuple[int, bool]] = []

    class Noted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: Tensor) -> Any:
            passes.append((len(x), torch.is_grad_enabled() and x.requires_grad))
            return self.net(x)

    return Noted().eval(), passes


def tests(card: Card) -> Iterator[Row]:
    """The tests for a GPU, of the core and of the packs."""
    # Of a checkout that is not installed pytest does not know the plugin, nor its settings in pyproject.toml.
    installed = any(one.value == "robustest.pytest_plugin" for one in entry_points(group="pytest11"))
    plugin = [] if installed else ["-p", "robustest.pytest_plugin"]
    for folder in (ROOT / "tests" / "gpu", *sorted((ROOT / "plugins").glob("*/tests"))):
        files = [str(path) for path in folder.rglob("test_*.py") if "mark.gpu" in path.read_text(encoding="utf-8")]
        if not files:
            continue
        of = "core" if folder.name == "gpu" else folder.parent.name
        with TemporaryDirectory() as scratch:
            report = Path(scratch, "junit.xml")
            # In a process of its own: pytest has to be loaded before what it tests.
            options = ["-q", "-m", "gpu", "-p", "no:cacheprovider", f"--junitxml={report}"]
            command = [sys.executable, "-m", "pytest", *plugin, *options]
            done = subprocess.run([*command, *files], cwd=ROOT, check=False)
            if not report.exists():  # what a pack's other tests share may need packages that are not installed
                done = subprocess.run([*command, "--noconftest", *files], cwd=ROOT, check=False)
            cases = list(ElementTree.parse(report).iter("testcase")) if report.exists() else []
        found = {
            kind: [case for case in cases if case.find(kind) is not None] for kind in ("failure", "error", "skipped")
        }
        failed = [*found["failure"], *found["error"]]
        passed = len(cases) - len(failed) - len(found["skipped"])
        why = {str(case.find("skipped").get("message")) for case in found["skipped"]}  # type: ignore[union-attr]
        skipped = f", {len(found['skipped'])} skipped: {'; '.join(sorted(why))}" if why else ""
        yield Row(f"GPU tests, {of}", f"{passed} passed, {len(failed)} failed{skipped}")
        # pytest's exit code is 0 if all passed; 5 if it found none.
        yield Row(f"GPU tests, {of}: pytest's exit code", done.returncode, "", "<= 0")
        for case in failed:
            fault = case.find("failure") if case.find("failure") is not None else case.find("error")
            message = "" if fault is None else str(fault.get("message"))
            yield Row(f"failed: {case.get('classname')} {case.get('name')}", message[:300] or "no message")


def small_net() -> nn.Module:
    """A ResNet-18 of torchvision's with random weights, for 10 classes."""
    import torch
    from torchvision.models import resnet18

    torch.manual_seed(0)
    net: nn.Module = resnet18(num_classes=10).eval()
    return net


def labelled(card: Card, net: nn.Module, x: Tensor) -> Tensor:
    """Return the answers (n,) of a network, on the host."""
    import torch

    there = card.put(net)
    with torch.no_grad():
        return torch.cat([there(part.to(card.device)).argmax(1).cpu() for part in x.split(256)])


def pgd(card: Card) -> Iterator[Row]:
    """PGD-40 over the bare passes it spends, and beside torchattacks."""
    import torch

    from robustest import Linf
    from robustest.attacks import PGD
    from robustest.measure import measure_robust_accuracy

    n = 8 if card.quick else 2048
    x = torch.rand(n, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 0.9 + 0.05
    net, attack = small_net(), PGD(steps=4 if card.quick else STEPS, step_size=RADIUS / 10)
    y = labelled(card, net, x)
    what = f"PGD-{attack.steps}, ResNet-18, 32 px, {n} samples"

    def claim(model: nn.Module, precision: str) -> float:
        options: dict[str, Any] = {"exact": True, "device": card.setting, "precision": precision, "batch_size": 512}
        return card.seconds(lambda: measure_robust_accuracy(model, (x, y), Linf(RADIUS), attack=attack, **options))

    claim(net, "fp32")
    model, passes = noted(net)
    spent = claim(model, "fp32")
    bare = card.bare(net, x, passes)
    yield Row(f"{what}, float32", 1000 * spent / n, "ms a sample")
    yield Row(f"{what}, float32, over its bare passes", spent / bare, TIMES, "<= 1.1")
    claim(net, "auto")
    yield Row(f"{what}, precision by default", 1000 * claim(net, "auto") / n, "ms a sample")
    if find_spec("torchattacks") is None:
        steps = [(min(512, n - start), True) for start in range(0, n, 512) for _ in range(attack.steps)]
        alone = card.bare(net, x, steps)
        yield Row(f"{what}, float32, over {attack.steps} bare steps in batches of 512", spent / alone, TIMES)
        yield Row(f"{what}, over torchattacks", "torchattacks is not installed", "")
        return
    import torchattacks

    there = card.put(net)
    peer = torchattacks.PGD(there, eps=RADIUS, alpha=RADIUS / 10, steps=attack.steps)
    on = [(a.to(card.device), b.to(card.device)) for a, b in zip(x.split(512), y.split(512), strict=True)]
    peer(*on[0])
    theirs = card.seconds(lambda: [peer(*one) for one in on])
    yield Row(f"{what}, float32, over torchattacks", spent / theirs, TIMES, "<= 1.1")


def corruptions(card: Card) -> Iterator[Row]:
    """The 19 corruptions on the device: their speed, and the host's result beside it."""
    import torch

    from robustest.shifts import CORRUPTIONS, corrupt

    n, side = (2, 32) if card.quick else (128, 224)
    x = torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(0))
    there, rates, few, apart = x.to(card.device), {}, min(n, 4), {}
    for name in CORRUPTIONS:
        found = corrupt(there, name, 3)  # tables and kernels are made by the first call
        rates[name] = n / card.seconds(lambda name=name: corrupt(there, name, 3))  # type: ignore[misc]
        apart[name] = float((found[:few].cpu() - corrupt(x[:few], name, 3)).abs().max())
    yield Row(f"{len(rates)} corruptions, severity 3, {side} px, median", statistics.median(rates.values()), "images/s")
    for name in sorted(rates, key=lambda one: rates[one]):
        yield Row(f"{name}, {side} px", rates[name], "images/s")
    worst = max(apart, key=lambda one: apart[one])
    yield Row(f"largest difference from the host, of values in 0..1 ({worst})", apart[worst], "", "<= 0.001")


def memory(card: Card) -> Iterator[Row]:
    """The most memory that a claim takes, and a claim whose batch does not fit."""
    import torch
    from torch import nn

    from robustest import Linf, devices
    from robustest.attacks import PGD
    from robustest.measure import measure_robust_accuracy

    n, batch = (8, 4) if card.quick else (1024, 512)
    net = small_net()
    x = torch.rand(n, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 0.9 + 0.05
    y = labelled(card, net, x)
    options: dict[str, Any] = {"exact": True, "device": card.setting, "precision": "fp32"}

    def claim() -> object:
        attack = PGD(steps=5, step_size=RADIUS / 10)
        return measure_robust_accuracy(net, (x, y), Linf(RADIUS), attack=attack, batch_size=batch, **options)

    what = f"most memory of PGD, ResNet-18, batches of {batch}"
    if devices.memory(card.device) is None:
        yield Row(what, "the device does not count its memory")
    else:
        claim()
        most = devices.peak(card.device, claim)
        alone = devices.peak(card.device, lambda: card.bare(net, x, [(batch, True)]))
        yield Row(what, most / 2**20, "MiB")
        yield Row(f"{what}, over one bare step", most / alone, "", "<= 1.5")

    class Hungry(nn.Module):
        """Needs a third of the device for every 16 samples; on the simulated one it says so."""

        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1))

        def forward(self, x: Tensor) -> Tensor:
            mean = x.flatten(1).mean(1) * self.weight
            if not card.simulated:
                share = int(torch.cuda.get_device_properties(0).total_memory) // 3 // 16
                mean = mean + 0 * torch.empty(len(x) * share, dtype=torch.uint8, device=x.device)[0]
            elif len(x) > 32:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate more than there is")
            return torch.stack([0.5 - mean, mean - 0.5], 1)

    x, y = torch.full((128, 1, 4, 4), 0.9), torch.ones(128, dtype=torch.int64)
    x = x + torch.linspace(0, 0.05, 128)[:, None, None, None]  # no two are copies
    found: list[Any] = []

    def hungry() -> None:
        how = {**options, "attack": "fgsm", "batch_size": 128}
        found.append(measure_robust_accuracy(Hungry(), (x, y), Linf(0.1), **how))

    spent = card.seconds(hungry)
    yield Row("a batch of 128 where 32 fit: robust accuracy, of 1", found[0].estimate, "", ">= 1")
    yield Row("and says so in its notes", int(any("out of memory" in one for one in found[0].words.notes)), "", ">= 1")
    yield Row("and takes", spent, "s")
    if devices.memory(card.device) is not None:
        found.clear()
        devices.free(card.device)
        yield Row("memory held after it", torch.cuda.memory_reserved() / 2**20, "MiB", "<= 1024")


def feeding(card: Card) -> Iterator[Row]:
    """From the host to the device: what a claim on a model without work passes a second, beside a plain loop."""
    import torch
    from device_simulator import images
    from feeding import Pixels, beside_a_loader

    from robustest import devices
    from robustest.measure import measure_accuracy

    few, many, side = (64, 128, 32) if card.quick else (1024, 8192, 224)
    batch = devices.staging((min(few, 512), 3, side, side), torch.float32, card.device).fill_(0.5)
    devices.upload(batch, card.device)
    spent = card.seconds(lambda: [devices.upload(batch, card.device) for _ in range(10)])
    yield Row("copies to the device from pinned memory", 10 * batch.nbytes / spent / 2**30, "GiB/s")
    for kind in ("bytes", "floats"):
        x = images(many, kind, side)
        y = x.flatten(1)[:, :2].argmax(1)

        def claim(n: int, x: Tensor = x, y: Tensor = y) -> float:
            how: dict[str, Any] = {"exact": True, "batch_size": 512, "device": card.setting, "suppress": _OF_PIXELS}
            return card.seconds(lambda: measure_accuracy(Pixels(), (x[:n], y[:n]), **how))

        def loop(n: int, x: Tensor = x) -> float:
            chunks = torch.randperm(n, generator=torch.Generator().manual_seed(0)).split(512)
            return card.seconds(
                lambda: [Pixels()(devices.pinned(x[ids], card.device).to(card.device)) for ids in chunks]
            )

        claim(few)
        loop(few)
        ours, plain = (timed(many) - timed(few) for timed in (claim, loop))
        what, told = f"samples in memory, {side} px, {kind}", min(ours, plain) > 0
        yield Row(what, (many - few) / ours if told else UNTOLD, "samples/s", ">= 3000")
        yield Row(f"{what}, beside a plain loop", ours / plain if told else UNTOLD, TIMES)
    rounds = beside_a_loader(*(64, 2, 1) if card.quick else (4000, 4, 3), device=card.setting)
    middle = statistics.median(rounds)
    yield Row("a DataLoader with workers, 5 ms a sample, beside it alone", middle, TIMES, "<= 1.1")


# Logits that are pixels look like probabilities.
_OF_PIXELS = ("softmax_outputs",)


def network(name: str, side: int, *, quick: bool) -> nn.Module:
    """A network of torchvision's with random weights, for 10 classes and images of this side."""
    import torch
    from torchvision.models import VisionTransformer, resnet50

    torch.manual_seed(0)
    if name == "ResNet-50":
        return resnet50(num_classes=10).eval()
    layers = 1 if quick else 12
    size = {"hidden_dim": 32, "mlp_dim": 64} if quick else {"hidden_dim": 768, "mlp_dim": 3072}
    net = VisionTransformer(
        image_size=side, patch_size=16, num_layers=layers, num_heads=2 if quick else 12, num_classes=10, **size
    )
    # Its head begins at zero, and would answer alike to everything.
    torch.nn.init.normal_(net.heads.head.weight, std=0.1)
    return net.eval()


def of_network(name: str) -> Callable[[Card], Iterator[Row]]:
    """Return the part with the claims on one network: samples a second, and its passes over bare ones."""

    def part(card: Card) -> Iterator[Row]:
        from device_simulator import claims, images

        few, many, side, rounds = (8, 24, 32, 1) if card.quick else (512, 3072, 224, 6)
        net = network(name, side, quick=card.quick)
        x = images(many, "bytes", side)
        y = labelled(card, net, x)
        batch = min(512, many)
        bare = card.bare(net, x, [(batch, False)] * rounds) / (batch * rounds)
        yield Row(f"{name}, {side} px, bare passes of {batch}", 1 / bare, "samples/s")
        for what, claim in claims(device=card.setting, suppress=("constant_answer",)).items():
            model, passes = noted(net)

            def timed(n: int, model: Any = model, claim: Any = claim, passes: Any = passes) -> tuple[float, int]:
                passes.clear()
                return card.seconds(lambda: claim(model, x[:n], y[:n])), sum(rows for rows, _ in passes)

            timed(few)
            (less, fewer), (more, most) = timed(few), timed(many)
            spent, passed, told = more - less, most - fewer, more > less
            rate, over = ((many - few) / spent, spent / passed / bare) if told else (UNTOLD, UNTOLD)
            yield Row(f"{name}, {what}", rate, "samples/s", ">= 3000" if what == "accuracy" else "")
            whose = f"{name}, {what}, over its {passed / (many - few):.2f} bare passes a sample"
            yield Row(whose, over, TIMES, "<= 1.1")

    return part


def certificates(card: Card) -> Iterator[Row]:
    """Randomised smoothing: noisy inputs a second, over their bare passes."""
    from device_simulator import images

    from robustest import L2, Smoothed
    from robustest.measure import measure_certified_accuracy

    n, side, draws = (2, 32, 100) if card.quick else (16, 224, DRAWS)
    net = network("ResNet-50", side, quick=card.quick)
    x = images(n, "bytes", side)
    y = labelled(card, net, x)
    model, passes = noted(net)
    # The simulated device has no generator of random numbers.
    where = "cpu" if card.simulated else card.setting

    def claim() -> object:
        smoothed = Smoothed(model, sigma=0.25, draws=draws)
        return measure_certified_accuracy(smoothed, (x, y), L2(0.1), exact=True, device=where, batch_size=512)

    claim()
    passes.clear()
    spent = card.seconds(claim)
    rows = sum(size for size, _ in passes)
    alone = card.bare(net, x.repeat(-(-512 // n), 1, 1, 1), passes)
    yield Row(f"smoothing, ResNet-50, {side} px, {draws} draws a sample", rows / spent, "noisy inputs/s")
    yield Row("smoothing, over its bare passes", spent / alone, TIMES, "<= 1.1")


@dataclass(frozen=True)
class Part:
    """A part: its function, and the seconds after which it is ended."""

    run: Callable[[Card], Iterator[Row]]
    limit: int


PARTS = {
    "tests": Part(tests, 300),
    "pgd": Part(pgd, 180),
    "corruptions": Part(corruptions, 180),
    "memory": Part(memory, 120),
    "feeding": Part(feeding, 180),
    "ResNet-50": Part(of_network("ResNet-50"), 210),
    "ViT": Part(of_network("ViT"), 210),
    "certificates": Part(certificates, 120),
}


# In the process of a part


def machine(name: str) -> dict[str, str]:
    """Return the names of the device, its driver, torch and Python."""
    import torch

    from robustest import devices

    cuda = name != "cpu"
    about = {
        "device": devices.hardware(torch.device(name, 0)) if cuda else f"no card: simulated on {platform.machine()}",
        "driver": "",
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    if cuda:
        try:
            asked = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
            told = subprocess.run(asked, capture_output=True, text=True, timeout=20, check=True).stdout.splitlines()
            about["driver"] = told[0].strip()
        except (OSError, subprocess.SubprocessError, IndexError):
            about["driver"] = "not known"
    return about


def run_part(part: str, card: Card, file: Path) -> None:
    """Run a part in this process; each row goes to a file as soon as it is known."""
    import torch

    # Modules that the parts share with other benchmarks and with the tests.
    sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT / "tests")]
    if not card.simulated and not torch.cuda.is_available():
        raise SystemExit(f"Expected a CUDA device but torch {torch.__version__} has none. Give --device cpu --quick.")
    with file.open("a") as rows:

        def keep(one: dict[str, Any]) -> None:
            rows.write(json.dumps(one) + "\n")
            rows.flush()

        keep({"machine": machine(card.name)})
        # pytest begins outside of any block, as a user's does.
        with nullcontext() if part == "tests" else card.inside():
            for found in PARTS[part].run(card):
                # A speed of the simulated device says nothing of a card.
                row = replace(found, bar="") if card.simulated and found.unit in (*SPEEDS, TIMES) else found
                keep(asdict(row))
                print(f"  {cells(row)}", flush=True)


# In the first process, which does not load torch


def run_all(parts: list[str], card: Card, folder: Path, minutes: float) -> bool:
    """Run the parts one after the other, and write what is known after each; return True if all kept their bars."""
    end = time.monotonic() + 60 * minutes
    state = folder / "card.json"
    before = json.loads(state.read_text()) if state.exists() else {}
    known: dict[str, Any] = {"machine": before.get("machine", {}), "parts": dict(before.get("parts", {}))}
    for name in parts:
        left = end - time.monotonic()
        if left < 5:
            rows = [Row("not run", f"the {minutes:g} minutes are over")]
        else:
            print(f"{name} (at most {min(PARTS[name].limit, left):.0f} s)", flush=True)
            file = folder / f"{name}.rows"
            file.unlink(missing_ok=True)
            command = [sys.executable, __file__, str(folder), "--part", name, "--device", card.name]
            rows, about = watched([*command, *(["--quick"] if card.quick else [])], file, min(PARTS[name].limit, left))
            known["machine"] = about or known["machine"]
        known["parts"][name] = [asdict(row) for row in rows]
        write(known, folder)
    kept = [Row(**row).kept is not False for rows in known["parts"].values() for row in rows]
    return all(kept)


def watched(command: list[str], file: Path, limit: float) -> tuple[list[Row], dict[str, str]]:
    """Run the process of a part, with all that it starts, for at most `limit` seconds; return its rows and machine."""
    paths = [str(ROOT), *(str(one) for one in sorted((ROOT / "plugins").glob("robustest-*")))]
    paths += filter(None, [os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}
    log, started = file.with_suffix(".log"), time.monotonic()
    error = ""
    with log.open("w") as errors:
        child = subprocess.Popen(command, env=environment, stderr=errors, start_new_session=True)
        try:
            code = child.wait(limit)
            last = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
            error = f"{last[-1] if last else 'no message'} (exit code {code})" if code else ""
        except subprocess.TimeoutExpired:
            error = f"ended after its limit of {limit:.0f} s"
        finally:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)  # the session that it began: its workers too
            child.wait()
    lines = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    rows = [Row(**one) for one in lines if "machine" not in one]
    rows += [Row("failed", error, bar="<= 0")] if error else []
    rows += [Row("the whole part", time.monotonic() - started, "s")]
    print(f"  {error or 'done'}, {time.monotonic() - started:.0f} s", flush=True)
    return rows, next((one["machine"] for one in lines if "machine" in one), {})


def cells(row: Row) -> str:
    """Return a row of the table, without its part."""
    figure = (
        row.figure
        if isinstance(row.figure, str)
        else f"{row.figure:,.4g}"
        if row.figure < 1e4
        else f"{row.figure:,.0f}"
    )
    met = {None: "", True: "met", False: "**NOT met**"}[row.kept]
    return " | ".join(cell.replace("|", "/").replace("\n", " ") for cell in (row.what, figure, row.unit, row.bar, met))


def write(known: dict[str, Any], folder: Path) -> None:
    """Write card.json, and card.md: a section of benchmarks/RESULTS.md."""
    about = known["machine"]
    driver = f", driver {about['driver']}" if about.get("driver") else ""
    versions = f"torch {about.get('torch', '?')}, Python {about.get('python', '?')}"
    title = f"## `card.py`: a day with a card ({about.get('device', 'no device')}{driver}, {versions})"
    table = "\n".join(f"| {name} | {cells(Row(**row))} |" for name, rows in known["parts"].items() for row in rows)
    (folder / "card.json").write_text(json.dumps(known, indent=1) + "\n")
    (folder / "card.md").write_text(
        f"{title}\n\n| part | | figure | unit | bar | |\n|---|---|---|---|---|---|\n{table}\n"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=Path(os.environ.get("OUT") or "card"))
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", nargs="+", choices=tuple(PARTS), default=list(PARTS), metavar="PART")
    parser.add_argument("--minutes", type=float, default=MINUTES)
    parser.add_argument("--part", choices=tuple(PARTS), help=argparse.SUPPRESS)
    given = parser.parse_args()
    card, folder = Card(given.device, given.quick), given.folder.resolve()
    if given.part:
        try:
            run_part(given.part, card, folder / f"{given.part}.rows")
        except Exception:
            traceback.print_exc()
            return 1
        return 0
    folder.mkdir(parents=True, exist_ok=True)
    kept = run_all(given.only, card, folder, given.minutes)
    print((folder / "card.md").read_text(), flush=True)
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
