"""Edits of texts beside the recipes of TextAttack (DeepWordBug, TextBugger), at equal edits and at most equal queries.

Sentences of the docstrings of pandas and of torch, two classes; two classifiers, TF-IDF of words and of characters with
logistic regression. Samples that the classifier gets right are attacked; what is shown is the accuracy left on them and
the mean queries of a sample, counted at the model, without robustest's checks of scores. A recipe gets the same k
(optimal string alignment, so that a swap is one edit as it is here) and the same number of queries. TextBugger's
replacements by embeddings and its sentence encoder need downloads and are left out, for both.

    python benchmarks/text_attacks.py [--n 100] [--queries 100 300 1000] [--k 1 2 3]
    python benchmarks/text_attacks.py --truth 200   # one edit: `standard` beside all texts at one edit, by other code
    python benchmarks/text_attacks.py --alone 30    # the search of the cascades by its number of queries

Needs textattack (0.3.11), of which only the recipes on characters are used.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import re
import string
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from robustest import Edits, find_adversarial
from robustest.attacks import GreedyMoves, RandomDraws
from robustest.shifts.text import LOOK_ALIKES
from robustest.threats.edits import LETTERS

Data = tuple[list[str], list[int]]
"""Texts and their labels."""

_SENTENCE = re.compile(r"[A-Z][A-Za-z ,'()-]{38,118}[.]")


def sentences(package: str) -> list[str]:
    """Return the different sentences of 40 to 120 characters in a package's docstrings, in the order of names."""
    root, found = importlib.import_module(package), dict[str, None]()
    modules = [one for _, one in inspect.getmembers(root, inspect.ismodule) if one.__name__.startswith(package)]
    for module in [root, *modules]:
        for _, held in sorted(inspect.getmembers(module), key=lambda pair: pair[0]):
            if not str(getattr(held, "__module__", "") or "").startswith(package):
                continue
            members = [one for _, one in inspect.getmembers(held, inspect.isroutine)] if inspect.isclass(held) else []
            for one in (held, *members):
                if inspect.isclass(one) or inspect.isroutine(one):
                    text = " ".join((inspect.getdoc(one) or "").split())
                    found |= dict.fromkeys(s for s in re.split(r"(?<=[.])\s+", text) if _SENTENCE.fullmatch(s))
    return [one for one in found if package not in one.lower()]


class Counted:
    """A classifier of texts that counts its queries."""

    def __init__(self, model: Any) -> None:
        self.model, self.queries = model, 0

    def __call__(self, texts: Sequence[str]) -> Any:
        self.queries += len(texts)
        return np.log(np.clip(self.model.predict_proba(list(texts)), 1e-12, None))


def ours(model: Counted, data: Data, *, k: int, queries: int, letters: str) -> float:
    attack = GreedyMoves(queries=queries, at_once=max(5, queries // 24), sweeps=min(k, 3), focus=0.5)
    model.queries = 0
    find_adversarial(model, *data, Edits(k, alphabet=letters), attack=RandomDraws(queries=1))
    checks, model.queries = model.queries - len(data[0]), 0  # of scores, which are no search
    found = find_adversarial(model, *data, Edits(k, alphabet=letters), attack=attack)
    model.queries -= checks
    return 1 - float(found.broken.mean())


def theirs(recipe: str, model: Counted, data: Data, *, k: int, queries: int) -> float:
    from textattack import Attack
    from textattack.attack_results import SuccessfulAttackResult
    from textattack.constraints import Constraint
    from textattack.constraints.pre_transformation import RepeatModification, StopwordModification
    from textattack.goal_functions import UntargetedClassification
    from textattack.models.wrappers import ModelWrapper
    from textattack.search_methods import GreedyWordSwapWIR
    from textattack.transformations import (
        CompositeTransformation,
        WordSwap,
        WordSwapNeighboringCharacterSwap,
        WordSwapRandomCharacterDeletion,
        WordSwapRandomCharacterInsertion,
        WordSwapRandomCharacterSubstitution,
    )

    class Wrapped(ModelWrapper):  # type: ignore[misc, no-any-unimported]
        def __init__(self) -> None:
            self.model = model

        def __call__(self, given: Sequence[str]) -> Any:
            return np.exp(model(given))

    class AtMost(Constraint):  # type: ignore[misc, no-any-unimported]
        def __init__(self) -> None:
            super().__init__(compare_against_original=True)

        def _check_constraint(self, transformed: Any, reference: Any) -> bool:
            return apart(reference.text, transformed.text) <= k

    class LookAlikes(WordSwap):  # type: ignore[misc, no-any-unimported]
        """As `WordSwapHomoglyphSwap`, whose table the wheel lacks, with the table that both sides get here."""

        def _get_replacement_words(self, word: str) -> list[str]:
            places = [at for at, letter in enumerate(word) if letter in LOOK_ALIKES]
            return [word[:at] + LOOK_ALIKES[word[at]] + word[at + 1 :] for at in places]

    inner: dict[str, Any] = {"random_one": True, "skip_first_char": True, "skip_last_char": True}
    transformations = {
        "DeepWordBug": [
            WordSwapNeighboringCharacterSwap(),
            WordSwapRandomCharacterSubstitution(),
            WordSwapRandomCharacterDeletion(),
            WordSwapRandomCharacterInsertion(),
        ],
        "TextBugger": [
            WordSwapRandomCharacterInsertion(letters_to_insert=" ", **inner),
            WordSwapRandomCharacterDeletion(**inner),
            WordSwapNeighboringCharacterSwap(**inner),
            LookAlikes(),
        ],
    }[recipe]
    attack = Attack(
        UntargetedClassification(Wrapped(), query_budget=queries),
        [RepeatModification(), StopwordModification(), AtMost()],
        CompositeTransformation(transformations),
        GreedyWordSwapWIR(wir_method="unk" if recipe == "DeepWordBug" else "delete"),
    )
    model.queries = 0
    results = [attack.attack(text, label) for text, label in zip(*data, strict=True)]
    return 1 - sum(isinstance(result, SuccessfulAttackResult) for result in results) / len(results)


def apart(a: str, b: str) -> int:
    """Return the optimal string alignment of two texts."""
    before: list[int] = []
    last = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        row = [i]
        for j, y in enumerate(b, 1):
            row.append(min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (x != y)))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                row[j] = min(row[j], before[j - 2] + 1)
        before, last = last, row
    return last[-1]


def at_one_edit(text: str, letters: str) -> set[str]:
    """Return all texts at one edit at most."""
    found = {text}
    for at in range(len(text) + 1):
        found |= {text[:at] + letter + text[at:] for letter in letters}
        if at < len(text):
            found |= {text[:at] + letter + text[at + 1 :] for letter in letters} | {text[:at] + text[at + 1 :]}
        if at + 1 < len(text):
            found.add(text[:at] + text[at + 1] + text[at] + text[at + 2 :])
    return found


def truth(name: str, fitted: Any, pairs: Sequence[tuple[str, int]], n: int) -> None:
    """Print the share of short texts that no edit breaks, by `standard` and by all texts at one edit."""
    short = [(" ".join(text.split()[:5]), k) for text, k in pairs]
    right = [(text, k) for text, k in short if fitted.predict([text])[0] == k][:n]
    texts, labels = [text for text, _ in right], [k for _, k in right]
    found = find_adversarial(Counted(fitted), texts, labels, Edits(1, alphabet=LETTERS), attack="standard")
    held = [set(fitted.predict(sorted(at_one_edit(text, LETTERS)))) == {k} for text, k in right]
    same = sum(bool(one) != other for one, other in zip(found.broken, held, strict=True))
    print(
        f"| {name} | {len(right)} | {1 - found.broken.mean():.3f} | {np.mean(held):.3f} | {same} of {len(right)} |",
        flush=True,
    )


def alone(name: str, fitted: Any, data: Data, queries: Sequence[int], edits: Sequence[int]) -> None:
    """Print the accuracy left by the search of the cascades, by its queries, and at one edit by all texts."""
    for k in edits:
        left = []
        for number in queries:
            attack = GreedyMoves(queries=number, at_once=50, sweeps=3, focus=0.5)
            found = find_adversarial(Counted(fitted), *data, Edits(k, alphabet=LETTERS), attack=attack)
            left.append(f"{1 - found.broken.mean():.2f}")
        if k == 1:
            held = [
                set(fitted.predict(sorted(at_one_edit(text, LETTERS)))) == {label}
                for text, label in zip(*data, strict=True)
            ]
            left.append(f"{np.mean(held):.2f}")
        print(f"| {name} | {k} | {' | '.join(left)} |", flush=True)


def main() -> None:
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=100)
    parser.add_argument("--queries", type=int, nargs="+", default=[100, 300, 1000])
    parser.add_argument("--k", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--ours", action="store_true", help="leave the recipes out")
    parser.add_argument("--truth", type=int, default=0)
    parser.add_argument("--alone", type=int, default=0)
    parser.add_argument("--classifiers", nargs="+", default=["words", "characters"])
    given = parser.parse_args()
    draw = np.random.default_rng(0)
    classes = [draw.permutation(sentences(package)).tolist() for package in ("pandas", "torch")]
    train, test = ([c[:1200] for c in classes], [c[1200:] for c in classes])
    letters = {"DeepWordBug": string.ascii_letters, "TextBugger": " " + "".join(LOOK_ALIKES.values())}
    classifiers: dict[str, dict[str, Any]] = {
        "words": {},
        "characters": {"analyzer": "char_wb", "ngram_range": (1, 4)},
    }
    for name in given.classifiers:
        options = classifiers[name]
        fitted = make_pipeline(TfidfVectorizer(sublinear_tf=True, **options), LogisticRegression(C=10))
        fitted.fit([text for part in train for text in part], [k for k, part in enumerate(train) for _ in part])
        model = Counted(fitted)
        pairs = [(text, k) for both in zip(*test, strict=False) for k, text in enumerate(both)]
        if given.truth:
            truth(name, fitted, pairs, given.truth)
            continue
        n = given.alone or given.n
        right = [(text, k) for text, k in pairs[: 2 * n] if fitted.predict([text])[0] == k][:n]
        data = [text for text, _ in right], [k for _, k in right]
        if given.alone:
            alone(name, fitted, data, given.queries, given.k)
            continue
        for recipe, alphabet in letters.items():
            for k in given.k:
                for queries in given.queries:
                    own = ours(model, data, k=k, queries=queries, letters=alphabet)
                    asked = model.queries / len(right)
                    other = theirs(recipe, model, data, k=k, queries=queries) if not given.ours else float("nan")
                    print(
                        f"| {name} | {recipe} | {k} | {queries} | {own:.2f} ({asked:.0f}) | {other:.2f} "
                        f"({model.queries / len(right):.0f}) |",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
