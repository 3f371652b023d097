"""The figures of the suites in this folder again, by code that shares nothing with robustest but the shifted texts.

    python benchmarks/shipped/figures.py

Predictions are asked of each package's own function, one text at a time. Accuracy under one edit is by all texts at
one edit (swap, delete, insert, substitute), as `text_attacks.py` writes them down. It prints both, and fails where
they differ.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
warnings.simplefilter("ignore")

import test_file_type as files  # noqa: E402
import test_language as language  # noqa: E402
import test_profanity as profanity  # noqa: E402
from magika import Magika  # noqa: E402
from profanity_check import predict  # noqa: E402
from text_attacks import at_one_edit  # noqa: E402

from robustest import Edits, rng  # noqa: E402
from robustest.measure import measure_accuracy, measure_robust_accuracy, measure_shift_accuracy  # noqa: E402
from robustest.shifts import TEXT_SHIFTS  # noqa: E402

MAGIKA = Magika()


def shifted(name: str, severity: int, texts: Sequence[str]) -> list[str]:
    import torch

    return TEXT_SHIFTS[name](list(texts), severity, rng.keys(0, torch.arange(len(texts))))


def share(answers: Sequence[Any], labels: Sequence[Any]) -> float:
    return float(np.mean([answer == label for answer, label in zip(answers, labels, strict=True)]))


def under_one_edit(
    answer: Callable[[list[str]], list[Any]], texts: Sequence[str], labels: Sequence[Any], letters: str
) -> float:
    return float(
        np.mean(
            [
                set(answer(sorted(at_one_edit(text, letters)))) == {label}
                for text, label in zip(texts, labels, strict=True)
            ]
        )
    )


def of_language(texts: Sequence[str]) -> list[int]:
    return [language.NAMES.index(language.identifier.classify(text)[0]) for text in texts]


def of_insults(texts: Sequence[str]) -> list[int]:
    return [int(answer) for answer in predict(list(texts))]


def of_files(rows: Sequence[bytes]) -> list[str]:
    return [str(MAGIKA.identify_bytes(row).dl.label) for row in rows]


def main() -> None:
    whole: dict[str, Any] = {"exact": True}
    rows = []
    for name, module, answer in (("profanity", profanity, of_insults), ("language", language, of_language)):
        texts, labels = module.DATA
        rows.append(
            (f"{name}: accuracy", measure_accuracy(module.model, module.DATA, **whole), share(answer(texts), labels))
        )
        for shift, severity in (("typos", 2), ("casing", 5), ("ocr_errors", 3)):
            got = measure_shift_accuracy(module.model, module.DATA, shift, severity=severity, **whole)
            rows.append((f"{name}: {shift}-{severity}", got, share(answer(shifted(shift, severity, texts)), labels)))
        letters = "abcdefghijklmnopqrstuvwxyz"
        got = measure_robust_accuracy(module.model, module.DATA, Edits(1, alphabet=letters), attack="standard", **whole)
        rows.append((f"{name}: one edit", got, under_one_edit(answer, texts, labels, letters)))
    kinds = [files.NAMES[label] for label in files.DATA[1]]
    rows.append(
        ("files: accuracy", measure_accuracy(files.model, files.DATA, **whole), share(of_files(files.DATA[0]), kinds))
    )
    itself = measure_accuracy(files.NET, (files.tokens(files.DATA[0]), files.DATA[1]), **whole)
    rows.append(("files: the ONNX file itself", itself, share(of_files(files.DATA[0]), kinds)))
    for name, change in (("newline", lambda one: one + b"\n"), ("GIF head", lambda one: b"GIF89a" + one)):
        got = measure_shift_accuracy(
            files.model, files.DATA, lambda many, change=change: [change(one) for one in many], **whole
        )
        rows.append((f"files: {name}", got, share(of_files([change(one) for one in files.DATA[0]]), kinds)))
    for name, result, own in rows:
        same = abs(result.estimate - own) < 1e-9
        print(
            f"{name:28} robustest {result.estimate:.4f}  own {own:.4f}  n {result.numbers.n}  "
            f"{'' if same else 'DIFFERS'}",
            flush=True,
        )
    sys.exit(any(abs(result.estimate - own) > 1e-9 for _, result, own in rows))


if __name__ == "__main__":
    main()
