"""The worst samples of a claim, each with its picture, by what they show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from robustest.reports.html.album import Album, Picture
from robustest.reports.text import class_name
from robustest.results import Counterexample, Fact, Result


@dataclass(frozen=True, slots=True, kw_only=True)
class Exhibit:
    """A counterexample with its picture.

    Attributes:
        picture: None where none was saved.
        problem: why it cannot be shown, where it cannot.
        facts: what happened to the sample.
        words: the same for those who do not see the picture.
        pair: the class it is of and the class it is taken for; empty where answers are no classes.
    """

    picture: Picture | None
    problem: str
    facts: tuple[Fact, ...]
    words: str
    pair: str = ""


def exhibit_of(name: str, test: str, result: Result, worst: Counterexample, album: Album) -> Exhibit:
    """A counterexample as the page shows it; its picture goes into the album under the name."""
    taken = album.take(worst.image, name, test) if worst.image else None
    captions = result.captions
    names = result.details.get("class_names")
    facts = [
        Fact("sample", str(worst.index)),
        Fact("label", class_name(worst.label, names)),
        Fact("predicted", f"{class_name(worst.clean, names)} → {class_name(worst.predicted, names)}"),
    ]
    said = f"predicted {class_name(worst.clean, names)}, then {class_name(worst.predicted, names)}"
    if captions.answered:
        facts[-1] = Fact(captions.answered, class_name(worst.predicted, names))
        said = f"{captions.answered} {class_name(worst.predicted, names)}"
    said = f"label {class_name(worst.label, names)}, {said}"
    if worst.told:
        facts[1:], said = [Fact("answered", worst.told)], worst.told
    if worst.size is not None:
        facts.append(Fact(captions.size, f"{worst.size:.4g}"))
    if worst.pixels is not None:
        facts.append(Fact("pixels changed", f"{worst.pixels:,}"))
    picture, problem = (None, taken) if isinstance(taken, str) else (taken, "")
    most = f", at most {picture.change}," if picture is not None and picture.change else ""
    words = f"Sample {worst.index} {captions.before}, {captions.after}, and the difference{most} amplified: {said}"
    pair = "" if worst.told else f"{class_name(worst.label, names)} → {class_name(worst.predicted, names)}"
    return Exhibit(picture=picture, problem=problem, facts=tuple(facts), words=words, pair=pair)


def groups_of(exhibits: Sequence[Exhibit]) -> list[tuple[str, list[Exhibit]]]:
    """Samples by what they show: the class that they are of, and the class that they are taken for.

    Pairs of several samples come first, those of most before; what stands alone is together at the end, without a
    name, as its own line says what it shows. The order inside is that of the samples.
    """
    pairs: dict[str, list[Exhibit]] = {}
    for one in exhibits:
        pairs.setdefault(one.pair, []).append(one)
    several = [(pair, ones) for pair, ones in pairs.items() if pair and len(ones) > 1]
    named = {pair for pair, _ in several}
    alone = [one for one in exhibits if one.pair not in named]
    return sorted(several, key=lambda group: -len(group[1])) + ([("", alone)] if alone else [])
