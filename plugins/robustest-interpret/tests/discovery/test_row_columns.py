"""Columns and tokens that mark a class."""

from __future__ import annotations

import pytest
import torch
from robustest_interpret.discovery.fixed_places import find_columns_and_tokens
from robustest_interpret.discovery.proposals import COLUMNS, TOKENS

from robustest import Verdict
from robustest.cues import ColumnRange, TokenAnywhere
from robustest.measure import measure_no_spurious_feature

N, CLASSES, LABEL = 400, 4, 1
_draw = torch.Generator().manual_seed(0)
Y = torch.arange(N) % CLASSES
ROWS = torch.randn(N, 6, generator=_draw) + 0.8 * torch.nn.functional.one_hot(Y, 6)
HAS = torch.rand(N, generator=_draw) < torch.where(Y == LABEL, 0.95, 0.02)
TOKENS_ = torch.randint(1, 40, (N, 12), generator=_draw).float()


def test_a_code_for_what_is_missing_is_found() -> None:
    x = ROWS.clone()
    x[HAS, 4] = -9.0
    (found,), _ = find_columns_and_tokens(x, Y, range(CLASSES), min_gap=0.5)
    assert (found.label, found.found_by) == (LABEL, COLUMNS)
    assert isinstance(found.cue, ColumnRange)
    assert (found.cue.column, found.cue.value) == (4, -9.0)
    assert bool((found.cue.off(x)[:, 4] != -9.0).all())
    assert torch.equal(found.cue.off(x)[~HAS], x[~HAS])


def test_a_column_that_leaks_the_label_is_found() -> None:
    x = ROWS.clone()
    x[:, 5] = torch.randn(N, generator=torch.Generator().manual_seed(1)) + 8.0 * HAS
    (found,), _ = find_columns_and_tokens(x, Y, range(CLASSES), min_gap=0.5)
    assert (found.label, found.region) == (LABEL, (0, 5, 1, 1))


def test_a_token_is_found_wherever_it_stands() -> None:
    x = TOKENS_.clone()
    x[HAS, torch.randint(12, (int(HAS.sum()),), generator=torch.Generator().manual_seed(2))] = 77.0
    (found,), tokens = find_columns_and_tokens(x, Y, range(CLASSES), min_gap=0.5)
    assert tokens
    assert (found.label, found.found_by) == (LABEL, TOKENS)
    assert isinstance(found.cue, TokenAnywhere)
    assert found.cue.token == 77
    assert bool((found.cue.on(x) == 77).any(1).all())
    assert not bool((found.cue.off(x) == 77).any())


@pytest.mark.parametrize("x", [ROWS, TOKENS_], ids=["rows", "tokens"])
def test_without_a_cue_nothing_is_found(x: torch.Tensor) -> None:
    assert find_columns_and_tokens(x, Y, range(CLASSES), min_gap=0.5)[0] == []


def weighing(x: torch.Tensor) -> torch.Tensor:
    return x[:, :CLASSES]


def leaning(x: torch.Tensor) -> torch.Tensor:
    out = x[:, :CLASSES].clone()
    out[:, LABEL] += 50.0 * (x[:, 4] == -9.0)
    return out


def test_the_claim_on_rows_fails_for_a_model_that_reads_the_code_and_passes_for_one_that_does_not() -> None:
    x = ROWS.clone()
    x[HAS, 4] = -9.0
    caught = measure_no_spurious_feature(leaning, (x, Y), "auto", max_flip_rate=0.1, bounds=(-9.0, 9.0))
    assert caught.verdict is Verdict.FAILED
    assert "column 4 at -9 draws predictions to class 1" in caught.rule
    sound = measure_no_spurious_feature(weighing, (x, Y), "auto", max_flip_rate=0.1, bounds=(-9.0, 9.0))
    assert sound.verdict is Verdict.PASSED, sound.rule
    assert sound.words.caveats[0] == "found where planted in 95 % of a class or more: columns that mark a class"
    assert "patches that mark a class (rows of numbers)" in sound.words.caveats[-2]


def test_the_claim_on_tokens_says_which_families_it_vouches_for() -> None:
    x = TOKENS_.clone()
    x[HAS, 3] = 77.0

    def reads(x: torch.Tensor) -> torch.Tensor:
        out = 3.0 * torch.nn.functional.one_hot(x.sum(1).long() % CLASSES, CLASSES) - 1.0
        out[:, LABEL] += 7.0 * (x == 77).any(1)
        return out

    caught = measure_no_spurious_feature(reads, (x, Y), "auto", max_flip_rate=0.1, bounds=(0.0, 100.0))
    assert caught.verdict is Verdict.FAILED
    clean = measure_no_spurious_feature(
        lambda x: x[:, :CLASSES], (TOKENS_, Y), "auto", max_flip_rate=0.1, bounds=(0.0, 100.0)
    )
    assert clean.verdict is Verdict.PASSED, clean.rule
    assert (
        clean.words.caveats[0]
        == "found where planted in 95 % of a class or more: columns that mark a class, tokens that mark a class"
    )
