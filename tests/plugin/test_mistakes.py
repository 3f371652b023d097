"""Typical mistakes of a first day in a table: how the test ends, and a first line that names it; none is green.

Each row is one test of a single run: its body, how it ends ("E" could not measure, "F" failed), and words of the first
line that is printed of it. What a run as a whole gets wrong (options, ini keys, markers) has a table of its own.
"""

from __future__ import annotations

import re

import pytest

CALLS: dict[str, tuple[str, str, str]] = {
    # shapes
    "flat images for a shift": ("shift(m, (x.flatten(1), y))", "E", "images of shape (N, C, H, W)"),
    "one number a sample": ("attack(m, (x[:, 0, 0, 0], y))", "E", "x of shape (N, ...)"),
    "one-hot labels": ("attack(m, (x, torch.eye(16)[y].long()))", "E", "labels of shape (N,)"),
    "labels in a column": ("attack(m, (x, y[:, None]))", "E", "labels of shape (N,)"),
    "fewer labels": ("attack(m, (x, y[:-1]))", "E", "as many labels as samples"),
    "fewer samples": ("attack(m, (x[:-1], y))", "E", "as many labels as samples"),
    "no samples": ("attack(m, (x[:0], y[:0]))", "E", "at least one sample"),
    "logits in rows of one": ("attack(lambda v: m(v)[:, :1], (x, y))", "E", "Expected logits of shape"),
    "one logit a sample": ("attack(lambda v: m(v)[:, 0], (x, y))", "E", "Expected logits of shape"),
    "logits transposed": ("attack(lambda v: m(v).T, (x, y))", "E", "Expected logits of shape"),
    "logits of the batch alone": ("attack(lambda v: m(v)[:3], (x, y))", "E", "Expected logits of shape"),
    "images of several sizes": (
        "attack(m, [(torch.rand(1, n, n), 0) for n in (4, 5)])",
        "E",
        "samples of one shape",
    ),
    "the model takes another shape": ("attack(torch.nn.Linear(99, 2), (x, y))", "E", "to answer a batch of shape"),
    # dtypes
    "8-bit images": ("attack(m, ((x * 255).byte(), y))", "E", "floating-point inputs but got torch.uint8"),
    "tokens for an attack": ("attack(m, ((x * 9).long(), y))", "E", "floating-point inputs but got torch.int64"),
    "float labels": ("attack(m, (x, y.float()))", "E", "integer class labels"),
    "bool labels": ("attack(m, (x, y > 0))", "E", "integer class labels"),
    "words as labels": ("attack(m, (x, ['a'] * len(y)))", "E", "labels as integers"),
    "complex inputs": ("attack(m, (x.to(torch.complex64), y))", "E", "floating-point inputs"),
    "text as data": ("attack(m, 'data/test')", "E", "a data set or a DataLoader"),
    "no data": ("attack(m, None)", "E", "a data set with len() and indexing"),
    "a dict of tensors": ("attack(m, {'x': x, 'y': y})", "E", "a data set with len() and indexing"),
    "a generator": ("attack(m, ((a, b) for a, b in zip(x, y)))", "E", "a data set with len() and indexing"),
    "images without labels": ("attack(m, x)", "E", "Expected (x, y), a data set"),
    # ranges
    "inputs in 0..255": ("attack(m, (x * 255, y))", "E", "inside the bounds [0, 1]"),
    "normalised inputs": ("attack(m, (x - 0.5, y))", "E", "inside the bounds [0, 1]"),
    "NaN input": ("attack(m, (x * float('nan'), y))", "E", "finite inputs"),
    "infinite input": ("attack(m, (x / 0, y))", "E", "finite inputs"),
    "labels from one": ("attack(m, (x, y + 1))", "E", "labels in 0..15"),
    "negative labels": ("attack(m, (x, y - 1))", "E", "labels in 0..15"),
    # bounds and preprocessing
    "bounds the wrong way round": ("attack(m, (x, y), bounds=(1, 0))", "E", "finite bounds with lowest < highest"),
    "one bound": ("attack(m, (x, y), bounds=1)", "E", "bounds to be (lowest, highest)"),
    "infinite bounds": ("attack(m, (x, y), bounds=(0, float('inf')))", "E", "finite bounds"),
    "a std of zero": ("attack(m, (x, y), preprocessing=([0.5], [0.0]))", "E", "std > 0 per channel"),
    "a mean alone": ("attack(m, (x, y), preprocessing=0.5)", "E", "preprocessing to be (mean, std)"),
    "two means, one std": ("attack(m, (x, y), preprocessing=([0.5, 0.5], [0.2]))", "E", "one mean and one std"),
    # thresholds
    "a percentage": ("attack(m, (x, y), at_least=40)", "E", "at_least"),
    "a threshold of 0": ("attack(m, (x, y), at_least=0)", "E", "at_least"),
    "a negative threshold": ("attack(m, (x, y), at_least=-0.1)", "E", "at_least"),
    "NaN as a threshold": ("attack(m, (x, y), at_least=float('nan'))", "E", "at_least"),
    "a threshold as text": ("attack(m, (x, y), at_least='0.4')", "E", "at_least"),
    "no threshold": ("assert_robust_accuracy(m, (x, y), Linf(0.1), at_least=None)", "E", "nothing to claim"),
    "a threshold left out": ("assert_shift_accuracy(m, (x, y), 'rotation')", "E", "nothing to claim"),
    "a drop of 1": ("assert_shift_accuracy(m, (x, y), 'rotation', max_drop=1)", "E", "max_drop"),
    # threats, shifts, cues, attacks
    "a bare number as threat": ("assert_robust_accuracy(m, (x, y), 0.1, at_least=0.5)", "E", "a threat model such as"),
    "the class as threat": ("assert_robust_accuracy(m, (x, y), Linf, at_least=0.5)", "E", "a threat model such as"),
    "a negative radius": ("Linf(-1)", "E", "eps"),
    "a radius as text": ("Linf('8/255')", "E", "eps to be a number"),
    "a NaN radius": ("L2(float('nan'))", "E", "eps"),
    "half a pixel": ("L0(0.5)", "E", "pixels"),
    "an unknown attack": ("attack(m, (x, y), attack='pgdd')", "E", "Unknown attack 'pgdd'. Did you mean 'pgd'"),
    "an unknown shift": ("shift(m, (x, y), 'gausian_noise')", "E", "Did you mean 'gaussian_noise'"),
    "severity 0": ("shift(m, (x, y), severity=0)", "E", "severity to be a whole number 1..5"),
    "severity 9": ("shift(m, (x, y), severity=9)", "E", "severity to be a whole number 1..5"),
    "a shift that is none": ("shift(m, (x, y), 3)", "E", "a shift's name"),
    "a shift that cuts": ("shift(m, (x, y), lambda v: v[..., 1:])", "E", "finite inputs of shape"),
    "a shift of NaN": ("shift(m, (x, y), lambda v: v / 0 * 0)", "E", "finite inputs of shape"),
    "a patch for rows": (
        "assert_robust_accuracy(m, (x.flatten(1), y), Patch(2, 2), at_least=0.5)",
        "E",
        "images of shape",
    ),
    "a patch larger than the image": (
        "assert_robust_accuracy(m, (x, y), Patch(99, 99), at_least=0.5)",
        "E",
        "Patch(height=99, width=99)",
    ),
    "a radius beyond float32": ("Linf(1e60)", "E", "eps >= 0 that float32 can hold"),
    "a radius of true": ("Linf(True)", "E", "eps to be a number"),
    # options
    "an unknown option": ("attack(m, (x, y), sed=1)", "E", "Did you mean 'seed'"),
    "a batch of none": ("attack(m, (x, y), batch_size=0)", "E", "batch_size to be a whole number >= 1"),
    "alpha of 1": ("attack(m, (x, y), alpha=1)", "E", "alpha in (0, 0.5)"),
    "a scope that is none": ("attack(m, (x, y), scope='all')", "E", "scope"),
    "a device that is none": ("attack(m, (x, y), device='gpu')", "E", "device to be auto, cpu"),
    "an unknown health check": ("attack(m, (x, y), suppress=('softmax',))", "E", "softmax_outputs"),
    "half a seed": ("attack(m, (x, y), seed=0.5)", "E", "seed to be a whole number"),
    "names as one word": ("attack(m, (x, y), classes='ab')", "E", "classes to be a list of names"),
    # models
    "the model's class": ("attack(torch.nn.Linear, (x, y))", "E", "a torch module or a callable"),
    "a path as model": ("attack('model.onnx', (x, y))", "E", "robustest_onnx.onnx_model"),
    "weights as model": ("attack(m.state_dict(), (x, y))", "E", "a torch module or a callable"),
    "no model": ("attack(None, (x, y))", "E", "a torch module or a callable"),
    "NaN logits": ("attack(lambda v: m(v) * float('nan'), (x, y))", "E", "finite logits"),
    "no gradient": ("attack(lambda v: m(v).detach(), (x, y))", "E", "Expected gradients"),
    "numpy inside": ("attack(lambda v: torch.tensor(m(v).detach().numpy()), (x, y))", "E", "Expected gradients"),
    "dropout left on": (
        "attack(lambda v: m(v) + torch.randn(len(v), 16), (x, y))",
        "E",
        "random_forward",
    ),
    "loss as answer": ("attack(lambda v: m(v).sum(), (x, y))", "E", "Expected logits of shape"),
    "labels as answer": ("attack(lambda v: m(v).argmax(1), (x, y))", "E", "Expected logits of shape"),
    "a model that raises": ("attack(lambda v: 1 / 0, (x, y))", "E", "it raised ZeroDivisionError"),
    # other tasks
    "boxes": ("attack(lambda v: [{'boxes': v}], (x, y))", "E", "Expected logits"),
    "masks": ("attack(lambda v: {'out': v}, (x, y))", "E", "Expected logits"),
    "an unfitted estimator": ("attack(Unfitted(), (x, y))", "E", "a fitted classifier"),
    # mixed up, and measured
    "permuted labels": ("attack(m, (x, y ^ 1), at_least=0.5)", "F", "clean accuracy 0.000"),
    "the verdict as truth": ("assert measure_robust_accuracy(m, (x, y), Linf(0.4)).verdict", "E", "as a truth value"),
    "the result as truth": ("assert measure_robust_accuracy(m, (x, y), Linf(0.4), at_least=0.9)", "E", "truth value"),
    "nothing claimed": ("m(x)", "E", "Expected a claim in a robustness test"),
}

RUNS: dict[str, tuple[tuple[str, ...], str, str, int, str]] = {
    "a seed that is none": ((), "robust_seed = abc", "", 4, "ini key robust_seed"),
    "an unknown ini key": ((), "robust_sed = 1", "", 4, "Did you mean 'robust_seed'"),
    "an unknown attack in an ini file": ((), "robust_attack = pgdd", "", 4, "Unknown attack 'pgdd'"),
    "an unknown profile": (("--robust-profile=fast",), "", "", 4, "Unknown robustest profile 'fast'"),
    "a shard beyond the last": (("--robust-shard=5/4",), "", "", 4, "--robust-shard=K/N"),
    "alpha as percent": ((), "robust_alpha = 5", "", 4, "alpha in (0, 0.5)"),
    "an unknown marker argument": ((), "", "@pytest.mark.robust(sed=1)", 4, "Did you mean 'seed'"),
    "a marker without keywords": ((), "", "@pytest.mark.robust('pgd')", 4, "Expected keyword arguments in"),
}

HELP = """
import torch

class Unfitted:
    def fit(self, x, y): ...
    def predict(self, x): ...

def attack(model, data, **options):
    __tracebackhide__ = True
    return assert_robust_accuracy(model, data, Linf(0.01), **{"at_least": 0.5, "attack": "pgd", **options})

def shift(model, data, shift="rotation", **options):
    __tracebackhide__ = True
    return assert_shift_accuracy(model, data, shift, at_least=0.5, **options)
"""


def test_there_are_as_many_as_were_promised() -> None:
    assert len(CALLS) + len(RUNS) >= 94


def test_no_mistake_is_green_and_each_is_named_in_the_first_line(project, write, run):
    head = "def test_{}(robust_model, robust_data):\n    m, (x, y) = robust_model, robust_data\n    {}\n"
    tests = [head.format(place, body) for place, (body, _, _) in enumerate(CALLS.values())]
    write(test_a=HELP + "\n".join(tests))
    result = run("--robust", "-W", "ignore")
    assert result.ret == 1
    row = re.compile(r"^(FAILED|ERROR|PASSED|SKIPPED) test_a\.py::test_(\d+) - (.*)$", re.M)
    said = {int(place): (word, line) for word, place, line in row.findall(result.stdout.str())}
    wrong = []
    for place, (name, (body, ends, words)) in enumerate(CALLS.items()):
        word, line = said.get(place, ("PASSED", "green"))
        if not (word[0] == ends and words in line):
            wrong.append(f"{name}: {body}: {word} {line}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", RUNS)
def test_what_a_run_gets_wrong_is_told_before_the_first_test(project, write, run, name):
    options, ini, marker, code, words = RUNS[name]
    (project.path / "pytest.ini").write_text(f"[pytest]\n{ini}\n", encoding="utf-8")
    test = "def test_it(robust_model, robust_data):\n    claim(robust_model, robust_data, 0.1, at_least=0.5)\n"
    write(test_a=f"{marker}\n{test}")
    result = run("--robust", *options)
    assert result.ret == code
    told = [line for line in (result.stderr.str() + result.stdout.str()).splitlines() if words in line]
    assert told, result.stderr.str()
