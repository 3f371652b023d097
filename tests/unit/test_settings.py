"""Settings: what they accept, and how ini, profile, marker and command line are laid over each other."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robustest import ConfigError, Settings, UnknownNameError
from robustest.health import HEALTH_CHECKS
from robustest.settings import MARKER_KEYS, PROFILES, coerce, profiles_from, resolve


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("device", "auto"),
        ("device", "cpu"),
        ("device", "cuda"),
        ("device", "cuda:12"),
        ("device", "mps"),
        ("seed", 0),
        ("seed", -1),
        ("seed", 2**70),
        ("scope", "set"),
        ("scope", "population"),
        ("alpha", 0.05),
        ("alpha", 1e-9),
        ("batch_size", None),
        ("batch_size", 1),
        ("examples", 0),
        ("shrink_budget", 0),
        ("suppress", ()),
        ("suppress", tuple(HEALTH_CHECKS)),
        ("exact", True),
        ("max_samples", None),
        ("max_samples", 1),
        ("time_budget", None),
        ("time_budget", 1e-9),
        ("time_budget", 60),
        ("inconclusive", "fail"),
        ("inconclusive", "skip"),
        ("store", None),
        ("store", "folder"),
        ("cache", False),
        ("recheck", 0),
        ("recheck", 1),
        ("recheck", 0.5),
        ("corpus", None),
        ("corpus", "folder"),
        ("corpus_max_mb", 0.1),
        ("replay_only", True),
        ("update_baseline", True),
    ],
)
def test_values_that_are_taken(name: str, value: object) -> None:
    assert getattr(Settings(**{name: value}), name) == value


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("device", "gpu", ["auto, cpu, cuda", "'gpu'"]),
        ("device", "cuda:", ["'cuda:'"]),
        ("device", "CPU", ["'CPU'"]),
        ("device", 0, ["0 (int)"]),
        ("seed", 1.0, ["whole number", "1.0 (float)"]),
        ("seed", True, ["True (bool)"]),
        ("seed", "1", ["'1' (str)"]),
        ("scope", "sets", ["'sets'", "Did you mean 'set'?"]),
        ("scope", None, ["None"]),
        ("alpha", 0, ["(0, 0.5)"]),
        ("alpha", 0.5, ["(0, 0.5)"]),
        ("alpha", float("nan"), ["nan"]),
        ("alpha", "0.1", ["'0.1' (str)"]),
        ("alpha", True, ["True (bool)"]),
        ("batch_size", 0, [">= 1", "0 (int)"]),
        ("batch_size", 2.0, ["2.0 (float)"]),
        ("examples", -1, [">= 0"]),
        ("examples", None, ["None"]),
        ("shrink_budget", -0.1, ["a share >= 0"]),
        ("suppress", ["softmax_outputs"], ["tuple"]),
        ("suppress", (1,), ["(1,)"]),
        ("suppress", ("softmax",), ["Did you mean 'saturated_softmax' or 'softmax_outputs'?"]),
        ("exact", 1, ["1 (int)"]),
        ("exact", "yes", ["'yes' (str)"]),
        ("max_samples", 0, [">= 1", "0 (int)"]),
        ("max_samples", 10.0, ["10.0 (float)"]),
        ("max_samples", True, ["True (bool)"]),
        ("time_budget", 0, ["seconds > 0"]),
        ("time_budget", -1.0, ["seconds > 0"]),
        ("time_budget", float("nan"), ["nan"]),
        ("time_budget", "60", ["'60' (str)"]),
        ("inconclusive", "pass", ["'pass'", "Known: fail, skip"]),
        ("cache", None, ["None"]),
        ("recheck", 1.01, ["0..1"]),
        ("recheck", -0.01, ["0..1"]),
        ("recheck", float("nan"), ["nan"]),
        ("recheck", None, ["None"]),
        ("corpus_max_mb", 0, ["megabytes > 0"]),
        ("corpus_max_mb", float("nan"), ["nan"]),
        ("replay_only", 0, ["0 (int)"]),
        ("update_baseline", "no", ["'no' (str)"]),
    ],
)
def test_values_that_are_refused(name: str, value: object, words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        Settings(**{name: value})
    for word in words:
        assert word in str(caught.value)


NO_NUMBERS = (
    float("nan"),
    float("inf"),
    -float("inf"),
    True,
    False,
    "1",
    np.bool_(1),
    np.float32(0.3),
    [1],
    -1e-301,
    -1,
)


@pytest.mark.parametrize("value", NO_NUMBERS, ids=repr)
@pytest.mark.parametrize(
    "name",
    [
        *("alpha", "family_size", "batch_size", "examples", "max_samples", "time_budget", "recheck", "corpus_max_mb"),
        *("workers", "gpus_per_task", "shrink_budget"),
    ],
)
def test_what_is_no_number_or_below_nothing_is_refused_by_every_number(name: str, value: object) -> None:
    """An infinite limit is written None; no JSON could hold it."""
    with pytest.raises(ConfigError, match=name):
        Settings(**{name: value})


def test_nothing_is_the_least_where_nothing_makes_sense() -> None:
    assert (Settings(recheck=-0.0).recheck, Settings(gpus_per_task=0).gpus_per_task) == (0, 0)
    assert Settings(alpha=np.float64(0.05)).alpha == 0.05


def test_settings_do_not_change_and_but_makes_others() -> None:
    settings = Settings()
    changed = settings.but({"seed": 3})
    assert (settings.seed, changed.seed) == (0, 3)
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.seed = 3  # type: ignore[misc]


def test_but_checks_names_and_values() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'batch_size'"):
        Settings().but({"batchsize": 3})
    with pytest.raises(ConfigError, match="batch_size"):
        Settings().but({"batch_size": -3})


def test_a_marker_gives_all_but_what_belongs_to_the_run() -> None:
    assert {f.name for f in dataclasses.fields(Settings)} - MARKER_KEYS == {
        "profile",
        "service",
        "pictures",
        "store",
        "corpus",
        "corpus_max_mb",
        "replay_only",
        "baseline",
        "update_baseline",
        "audit_values",
        "engine",
        "address",
        "workers",
        "gpus_per_task",
    }


def test_the_night_looks_at_everything_afresh() -> None:
    night, day = resolve(profiles=PROFILES, profile="nightly"), resolve(profiles=PROFILES, profile="ci")
    assert (night.exact, night.cache, night.attack) == (True, False, "thorough")
    assert (day.exact, day.cache) == (False, True)


def test_the_later_layer_wins() -> None:
    layers: dict[str, Any] = {
        "profiles": {"mine": {"seed": 2, "alpha": 0.02}},
        "profile": "mine",
        "ini": {"seed": 1, "alpha": 0.01, "examples": 1},
        "command_line": {"seed": 3},
    }
    settings = resolve(**layers)
    assert (settings.seed, settings.alpha, settings.examples, settings.profile) == (3, 0.02, 1, "mine")


def test_an_unknown_profile_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'nightly'"):
        resolve(profiles={"nightly": {}, "ci": {}}, profile="nighty")


@pytest.mark.parametrize("layer", ["ini", "command_line"])
def test_every_layer_is_checked(layer: str) -> None:
    with pytest.raises(ConfigError, match="alpha"):
        resolve(profiles={"dev": {}}, profile="dev", **{layer: {"alpha": 2.0}})
    with pytest.raises(UnknownNameError, match="speed"):
        resolve(profiles={"dev": {}}, profile="dev", **{layer: {"speed": 2.0}})


@pytest.mark.parametrize(
    "given",
    ["softmax_outputs random_forward", "softmax_outputs, random_forward", ["softmax_outputs", "random_forward"]],
    ids=["words", "commas", "list"],
)
def test_health_checks_to_suppress_may_be_words_or_a_list(given: object) -> None:
    assert coerce({"suppress": given, "seed": 1}) == {"suppress": ("softmax_outputs", "random_forward"), "seed": 1}


def test_suppress_of_another_type_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="suppress"):
        Settings().but(coerce({"suppress": 5}))


def test_without_a_file_there_are_our_own_profiles(tmp_path: Path) -> None:
    assert profiles_from(tmp_path / "pyproject.toml") == {
        "dev": {},
        "ci": {"recheck": 0.05},
        "nightly": {"attack": "thorough", "exact": True, "cache": False},
    }


def write(folder: Path, text: str) -> Path:
    path = folder / "pyproject.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_changes_profiles_and_adds_others(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """
        [tool.robustest.profiles.ci]
        alpha = 0.001
        [tool.robustest.profiles.mine]
        seed = 9
        suppress = ["softmax_outputs"]
        """,
    )
    profiles = profiles_from(path)
    assert resolve(profiles=profiles, profile="ci").alpha == 0.001
    mine = resolve(profiles=profiles, profile="mine")
    assert (mine.seed, mine.suppress) == (9, ("softmax_outputs",))
    assert set(profiles_from(tmp_path / "absent.toml")) == {"dev", "ci", "nightly"}  # nothing leaked into ours


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[tool.robustest]\nseed = 1", ["'seed'", "profiles"]),
        ("[tool.robustest.profiles]\nci = 3", ["[tool.robustest.profiles.ci]", "3 (int)"]),
        ("[tool.robustest.profiles.ci]\nalpha = 7", ["alpha", "7 (int)"]),
        ("[tool.robustest.profiles.ci]\nalhpa = 0.1", ["'alhpa'", "Did you mean 'alpha'"]),
        ("[tool.robustest.profiles.ci\n", ["pyproject.toml", "TOML"]),
        ("[tool.robustest]\nprofiles = 3", ["profiles"]),
        ("[tool]\nrobustest = 3", ["robustest"]),
    ],
    ids=["key", "profile", "value", "setting", "syntax", "profiles", "table"],
)
def test_a_wrong_file_is_a_config_error_that_names_the_place(tmp_path: Path, text: str, words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        profiles_from(write(tmp_path, text))
    for word in words:
        assert word in str(caught.value)


def test_other_tools_tables_are_none_of_our_business(tmp_path: Path) -> None:
    assert set(profiles_from(write(tmp_path, "[tool.black]\nline = 1"))) == {"dev", "ci", "nightly"}


def test_what_holds_where_nothing_is_set() -> None:
    """These decide verdicts, or what a run costs: a change of one is a change of every user's results."""
    assert dataclasses.asdict(Settings()) == {
        **dict.fromkeys(("certify", "batch_size", "pictures", "max_samples", "time_budget", "store", "corpus")),
        **dict.fromkeys(("address", "workers", "gpus_per_task")),
        **dict.fromkeys(("exact", "audit_values", "replay_only", "update_baseline"), False),
        "profile": "dev",
        "service": "",
        "device": "auto",
        "seed": 0,
        "attack": "fast",
        "scope": "set",
        "precision": "auto",
        "alpha": 0.01,
        "family_size": 100,
        "examples": 3,
        "shrink_budget": 0.5,
        "suppress": (),
        "recheck": 0.01,
        "cache": True,
        "inconclusive": "fail",
        "attempts": "every",
        "corpus_max_mb": 20.0,
        "engine": "local",
        "baseline": "robust-baseline.json",
    }
    assert dict(PROFILES) == {
        "dev": {},
        "ci": {"recheck": 0.05},
        "nightly": {"attack": "thorough", "exact": True, "cache": False},
    }


@pytest.mark.parametrize(
    ("name", "taken", "refused"),
    [
        ("alpha", [1e-12, 0.4999], [0, 0.0, 0.5, True]),
        ("family_size", [1, 2], [0, None, True, 1.0]),
        ("batch_size", [None, 1], [0, True]),
        ("examples", [0, 1], [-1, None]),
        ("shrink_budget", [0, 0.5, 20], [-1, None, float("inf")]),
        ("max_samples", [None, 1], [0]),
        ("time_budget", [None, 1e-9, 1], [0, -1, float("inf"), True]),
        ("recheck", [0, 1, 0.5], [-1e-9, 1.0000001, None, True]),
        ("corpus_max_mb", [1e-9, 1000], [0, -1, None, float("inf")]),
        ("workers", [None, 1], [0, -1, True]),
        ("gpus_per_task", [None, 0, 0.25, 64], [-0.1, 64.1, True]),
        ("seed", [0, -5], [0.0, None, True]),
        ("attack", ["pgd"], ["", None]),
        ("engine", ["ray"], ["", None]),
        ("address", [None, "auto"], ["", 3]),
        ("certify", [None, "auto", "linear"], ["", "exact", False]),
        ("precision", ["auto", "fp32", "bf16"], [None, "fp16"]),
        ("attempts", ["every", "majority"], [None, "any"]),
        ("inconclusive", ["fail", "skip"], [None, "pass"]),
        ("suppress", [(), ("weak_attack",)], [["weak_attack"], "weak_attack", (1,), ("weak",)]),
        *((flag, [True, False], [0, 1, None, "no"]) for flag in ("exact", "audit_values", "cache", "replay_only")),
        ("update_baseline", [True, False], [0, 1, None]),
    ],
)
def test_values_on_each_side_of_every_border(name: str, taken: list[Any], refused: list[Any]) -> None:
    for value in taken:
        assert getattr(Settings().but({name: value}), name) == value
    for value in refused:
        with pytest.raises((ConfigError, UnknownNameError)):
            Settings().but({name: value})


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ("a b", ("a", "b")),
        ("a,b, c", ("a", "b", "c")),
        (["a"], ("a",)),
        ({"a"}, ("a",)),
        (("a",), ("a",)),
        (None, None),
        (3, 3),
        ("", ()),
    ],
)
def test_names_in_texts_and_lists_become_tuples(given: Any, made: Any) -> None:
    assert coerce({"suppress": given, "attack": "a b"}) == {"suppress": made, "attack": "a b"}
    assert coerce({"attack": "a b"}) == {"attack": "a b"}
