"""The interface of packs: each hook takes effect, and a pack that fails is named and never passed over."""

# ruff: noqa: ARG005 - what is given to a stand-in is given by the interface

from __future__ import annotations

import argparse
import inspect
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import toy_pack
from torch.utils.data import DataLoader, TensorDataset

from robustest import (
    ConfigError,
    DataError,
    Linf,
    Settings,
    UnknownNameError,
    assert_accuracy,
    assert_robust_accuracy,
    extensions,
)
from robustest.account import Account, Row
from robustest.attacks import CASCADES, Cascade, Stage, as_attack
from robustest.claims import kinds
from robustest.cli import main
from robustest.cli.questions import Facts, Probe
from robustest.data import Outcomes, as_samples
from robustest.data.samples import unwrapped
from robustest.errors import PackError
from robustest.extensions import Command, Section, hookimpl
from robustest.hooks import Hooks
from robustest.measure import measure_accuracy, measure_no_spurious_feature, measure_robust_accuracy
from robustest.reports import github, terminal
from robustest.reports.html.page import write
from robustest.results import Fact
from robustest.run.measurement import measurement
from robustest.run.workers import close_engines, engine_for
from robustest.shifts import as_shift, shift_names
from robustest.tasks import Classification, checked_task

Packs = Callable[..., None]
HOOKS = sorted(name for name in vars(Hooks) if name.startswith("robustest_"))


def pack(hook: str, answer: Any) -> SimpleNamespace:
    """A pack with one hook, which gives a value, or raises it where it is an exception."""

    def answered() -> Any:
        if isinstance(answer, BaseException):
            raise answer
        return answer

    answered.__name__ = hook
    return SimpleNamespace(**{hook: hookimpl(answered)})


def ask(hook: str, toy: Any) -> object:
    """Do what asks packs for this hook."""
    x, y = toy.x, toy.y
    asking: dict[str, Callable[[], object]] = {
        "robustest_attacks": lambda: as_attack("toy-steps"),
        "robustest_searches": lambda: as_attack("fast", Linf(0.25)),
        "robustest_shifts": lambda: as_shift("half", None),
        "robustest_cue_searches": lambda: measure_no_spurious_feature(toy.model, (x, y), "toy-cues"),
        "robustest_tasks": lambda: checked_task("toy-classes"),
        "robustest_kinds": kinds,
        "robustest_read": lambda: as_samples(toy_pack.Table(((0.1, 0.2),), (1,))),
        "robustest_outcomes": lambda: Outcomes.read(__file__, reader="toy-lines"),
        "robustest_engines": lambda: engine_for(Settings(engine="counted")),
        "robustest_sections": lambda: extensions.all_of("robustest_sections", Section, results=()),
        "robustest_commands": lambda: extensions.all_of("robustest_commands", Command),
        "robustest_probes": lambda: extensions.all_of("robustest_probes", Probe, facts=Facts(kind="images")),
    }
    return asking[hook]()


@pytest.fixture(autouse=True)
def closed() -> Any:
    yield
    close_engines()


# Loading


def test_without_packs_there_are_none(packs: Packs) -> None:
    packs()
    assert extensions.names() == []


def test_a_pack_is_loaded_once_and_not_before_it_is_asked(packs: Packs, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = []
    point = SimpleNamespace(name="toy", value="toy", dist=None, load=lambda: loaded.append(1) or toy_pack)
    monkeypatch.setattr(extensions, "entry_points", lambda group: [point])
    extensions.manager.cache_clear()
    as_attack("pgd"), as_shift("fog", 1), checked_task("classification"), checked_task(Classification())
    assert loaded == []
    assert extensions.names() == ["toy"]
    as_attack("toy-steps"), as_shift("half", None)
    assert loaded == [1]


@pytest.mark.parametrize("error", [ImportError("no module named frobnicate"), SyntaxError("line 3"), KeyError("x")])
def test_a_pack_that_cannot_be_loaded_is_named_each_time(packs: Packs, error: Exception) -> None:
    packs(good=toy_pack, bad=error)
    for _ in range(2):  # a failure that is remembered as "no packs" would pass the second time
        with pytest.raises(PackError) as caught:
            extensions.names()
        told = str(caught.value)
        assert "Expected to load the pack 'bad' (bad.pack)" in told
        assert f"{type(error).__name__}: {error}" in told
        assert told.endswith("Upgrade or uninstall robustest-bad 1.2.")


def test_a_broken_pack_fails_what_depends_on_packs(packs: Packs, toy: Any) -> None:
    packs(bad=ImportError("gone"))
    for hook in HOOKS:
        with pytest.raises(PackError, match="'bad'"):
            ask(hook, toy)


def test_a_hook_that_there_is_not_is_an_error_with_the_nearest(packs: Packs) -> None:
    packs(bad=pack("robustest_attack", {}))
    with pytest.raises(
        PackError, match=r"pack 'bad'.*Unknown hook 'robustest_attack'. Did you mean 'robustest_attacks'"
    ):
        extensions.names()


def test_a_hook_that_asks_for_other_arguments_is_an_error(packs: Packs) -> None:
    def robustest_searches(norm: object) -> list[Stage]:
        return []

    packs(bad=SimpleNamespace(robustest_searches=hookimpl(robustest_searches)))
    with pytest.raises(PackError, match=r"pack 'bad'.*norm"):
        extensions.names()


def test_a_wrapper_of_other_packs_is_an_error(packs: Packs) -> None:
    def robustest_shifts() -> Any:
        return (yield)

    packs(bad=SimpleNamespace(robustest_shifts=hookimpl(robustest_shifts, wrapper=True)))
    with pytest.raises(PackError, match=r"pack 'bad'.*a wrapper of robustest_shifts"):
        extensions.names()


def test_two_packs_of_one_name_are_an_error(packs: Packs) -> None:
    packs(toy=toy_pack)
    packs(toy=pack("robustest_shifts", {}))
    with pytest.raises(PackError, match="'toy'"):
        extensions.names()


# Every hook alike


def test_the_toy_pack_has_every_hook(packs: Packs) -> None:
    packs(toy=toy_pack)
    assert {one.name for one in extensions.manager().get_hookcallers(toy_pack) or ()} == set(HOOKS)


def test_packs_are_held_to_the_arguments_that_are_specified() -> None:
    specified = {name: tuple(inspect.signature(vars(Hooks)[name]).parameters)[1:] for name in HOOKS}
    assert specified == extensions.HOOKS, "Write the hook's arguments into HOOKS in robustest/extensions.py."


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_says_when_it_is_called_and_what_it_returns(hook: str) -> None:
    words = vars(Hooks)[hook].__doc__
    assert words.startswith("Return ")
    assert "Called " in words


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_that_raises_is_named_with_its_pack(packs: Packs, toy: Any, hook: str) -> None:
    packs(bad=pack(hook, ZeroDivisionError("by nothing")))
    with pytest.raises(
        PackError, match=f"{hook} of the pack 'bad' to answer but it raised ZeroDivisionError: by nothing"
    ):
        ask(hook, toy)


@pytest.mark.parametrize("hook", HOOKS)
def test_an_error_of_robustests_own_passes_through_a_hook(packs: Packs, toy: Any, hook: str) -> None:
    packs(bad=pack(hook, DataError("Expected a table but got a chair.")))
    with pytest.raises(DataError, match=r"^Expected a table but got a chair\.$"):
        ask(hook, toy)


WRONG = [(hook, wrong) for hook in HOOKS for wrong in (3, "half", [object()], {"half": 3}, {3: len})]


@pytest.mark.parametrize(
    ("hook", "wrong"),
    # What can be indexed is read as data, whose own errors follow.
    [(hook, wrong) for hook, wrong in WRONG if hook != "robustest_read" or wrong == 3],
)
def test_a_hook_that_returns_something_else_is_named_with_its_pack(
    packs: Packs, toy: Any, hook: str, wrong: object
) -> None:
    packs(bad=pack(hook, wrong))
    with pytest.raises(PackError, match=f"{hook} of the pack 'bad' to return"):
        ask(hook, toy)


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_that_returns_nothing_adds_nothing(packs: Packs, toy: Any, hook: str) -> None:
    packs(quiet=pack(hook, None))
    assert extensions.names() == ["quiet"]
    if hook in NAMED or hook == "robustest_cue_searches":
        with pytest.raises(UnknownNameError):
            ask(hook, toy)
    elif hook == "robustest_read":
        with pytest.raises(DataError, match="Expected"):
            ask(hook, toy)
    else:
        ask(hook, toy)


NAMED = {
    "robustest_attacks": ("pgd", lambda: as_attack("other")),
    "robustest_shifts": ("fog", lambda: as_shift("other", None)),
    "robustest_tasks": ("classification", lambda: checked_task("other")),
    "robustest_engines": ("local", lambda: engine_for(Settings(engine="other"))),
    "robustest_outcomes": ("csv", lambda: Outcomes.read(__file__, reader="other")),
}


@pytest.mark.parametrize("hook", NAMED)
def test_a_name_that_robustest_has_is_refused(packs: Packs, hook: str) -> None:
    name, asking = NAMED[hook]
    packs(bad=pack(hook, {name: len}))
    with pytest.raises(PackError, match=f"pack 'bad' .*name of its own but robustest has a .* '{name}' too"):
        asking()


@pytest.mark.parametrize("hook", NAMED)
def test_a_name_that_another_pack_has_is_refused(packs: Packs, hook: str) -> None:
    packs(one=pack(hook, {"same": len}), two=pack(hook, {"same": len}))
    with pytest.raises(PackError, match=r"but the pack '(one|two)' has a .* 'same' too"):
        NAMED[hook][1]()


@pytest.mark.parametrize("hook", ["robustest_attacks", "robustest_cue_searches", "robustest_tasks"])
def test_what_a_function_of_a_name_makes_is_checked(packs: Packs, hook: str) -> None:
    data = torch.rand(8, 1, 4, 4), torch.arange(8) % 2
    ask_for = {
        "robustest_attacks": as_attack,
        "robustest_cue_searches": lambda name: measure_no_spurious_feature(lambda x: x[:, 0, 0, :2], data, name),
        "robustest_tasks": checked_task,
    }[hook]

    def broken() -> object:
        raise ZeroDivisionError("by nothing")

    packs(bad=pack(hook, {"raises": broken, "wrong": lambda: 3, "type": lambda: Classification}))
    with pytest.raises(
        PackError, match=r"pack 'bad' to make the .* 'raises' but it raised ZeroDivisionError: by nothing"
    ):
        ask_for("raises")
    for name in ("wrong", "type"):
        with pytest.raises(PackError, match=f"'{name}' of a pack to be a"):
            ask_for(name)


# Each takes effect


def test_an_attack_by_name(packs: Packs, toy: Any) -> None:
    packs(toy=toy_pack)
    assert as_attack("toy-steps").stages[0].searcher.steps == 3
    result = measure_robust_accuracy(toy.model, (toy.x, toy.y), Linf(0.1), attack="toy-steps", exact=True)
    assert (
        result.estimate
        == measure_robust_accuracy(
            toy.model, (toy.x, toy.y), Linf(0.1), attack=toy_pack.PGD(steps=3), exact=True
        ).estimate
    )
    with pytest.raises(UnknownNameError, match="Did you mean 'toy-steps'"):
        as_attack("toy-step")


def test_an_attack_of_a_pack_may_be_a_cascade(packs: Packs) -> None:
    both = Cascade(name="both", stages=(Stage(searcher=toy_pack.PGD(steps=2)),))
    packs(toy=pack("robustest_attacks", {"both": lambda: both}))
    assert as_attack("both") is both


def test_searches_join_the_cascades_for_their_threat_alone(packs: Packs, toy: Any) -> None:
    packs(toy=toy_pack)
    joined = as_attack("fast", Linf(0.25))
    assert joined.stages[:-1] == CASCADES["fast"].stages
    assert joined.stages[-1].searcher.steps == 7
    assert joined.name == "fast + toy"
    assert as_attack("fast", Linf(0.2)) == CASCADES["fast"]
    assert as_attack("pgd", Linf(0.25)).name == "pgd"
    own = Cascade(name="own", stages=CASCADES["fast"].stages)
    assert as_attack(own, Linf(0.25)) is own
    found = measure_robust_accuracy(toy.model, (toy.x, toy.y), Linf(0.25), attack="fast", exact=True)
    assert "fast + toy" in found.subject.method


def test_a_shift_by_name(packs: Packs) -> None:
    packs(toy=toy_pack)
    assert as_shift("half", None).function is toy_pack.half
    assert "half" in shift_names()


def test_a_task_by_name(packs: Packs, toy: Any) -> None:
    packs(toy=toy_pack)
    named = assert_accuracy(toy.model, (toy.x, toy.y), at_least=0.5, task="toy-classes")
    plain = assert_accuracy(toy.model, (toy.x, toy.y), at_least=0.5, task=Classification())
    assert (named.estimate, named.outcomes) == (plain.estimate, plain.outcomes)
    assert_robust_accuracy(toy.model, (toy.x, toy.y), Linf(0.001), at_least=0.5, attack="fgsm", task="classification")
    with pytest.raises(UnknownNameError, match="Did you mean 'toy-classes'"):
        assert_accuracy(toy.model, (toy.x, toy.y), at_least=0.5, task="toy-class")


def test_a_kind_of_claim_is_listed(packs: Packs) -> None:
    without = kinds()
    packs(toy=toy_pack)
    assert set(kinds()) - set(without) == {"toy"}


def test_a_kind_of_claim_with_the_name_of_one_of_ours_is_refused_and_ours_measured(packs: Packs, toy: Any) -> None:
    bad = replace(toy_pack.TOY, name="accuracy")
    packs(bad=pack("robustest_kinds", [bad]))
    assert measure_accuracy(toy.model, (toy.x, toy.y)).subject.kind == "accuracy"
    with pytest.raises(PackError, match="'accuracy' is one of robustest's"):
        measurement(bad)(lambda *, at_least: None)(at_least=0.5)
    with pytest.raises(PackError, match=r"pack 'bad' .* robustest has a kind of claim 'accuracy' too"):
        kinds()
    measure_robust_accuracy(toy.model, (toy.x, toy.y), Linf(0.01), attack="fgsm")


def test_a_kind_of_claim_with_the_name_of_another_packs_is_refused(packs: Packs) -> None:
    packs(one=pack("robustest_kinds", [toy_pack.TOY]), two=pack("robustest_kinds", [replace(toy_pack.TOY)]))
    with pytest.raises(PackError, match="the pack 'two' to give its kind of claim a name of its own"):
        measurement(toy_pack.TOY)(lambda *, at_least: None)(at_least=0.5)


def test_claims_of_ours_load_no_kinds_of_packs(packs: Packs, toy: Any) -> None:
    packs(own=pack("robustest_kinds", ZeroDivisionError("loaded")))
    assert measure_accuracy(toy.model, (toy.x, toy.y)).subject.kind == "accuracy"


def test_data_of_another_type_are_read(packs: Packs) -> None:
    packs(toy=toy_pack)
    table = toy_pack.Table(((0.1, 0.2), (0.3, 0.4)), (1, 0))
    samples = as_samples(table)
    x, y = samples.take(torch.tensor([1]))
    assert torch.equal(x, torch.tensor([[0.3, 0.4]]))
    assert y.tolist() == [0]
    assert samples.source is table
    assert isinstance(unwrapped(table), tuple)


def test_data_that_robustest_reads_are_not_shown_to_packs(packs: Packs, toy: Any) -> None:
    packs(bad=pack("robustest_read", ZeroDivisionError()))
    arrays = (toy.x, toy.y)
    loader = DataLoader(TensorDataset(*arrays))
    for data in (arrays, (toy.x.numpy(), toy.y.numpy()), loader, as_samples(arrays)):
        assert len(as_samples(unwrapped(data))) == len(toy.y)


def test_a_read_that_gives_no_data_is_named(packs: Packs) -> None:
    packs(bad=pack("robustest_read", 3))
    with pytest.raises(PackError, match="robustest_read of the pack 'bad' to return"):
        as_samples(toy_pack.Table(((0.1,),), (1,)))


def test_an_engine_by_name(packs: Packs, toy: Any) -> None:
    packs(toy=toy_pack)
    assert isinstance(engine_for(Settings(engine="counted")), toy_pack.Counted)


ROW = {"test": "test_a.py::test_x", "problem": "", "replay": ""}


def account_of(toy: Any) -> Account:
    result = assert_accuracy(toy.model, (toy.x, toy.y), at_least=0.5)
    return Account(results=(Row(**ROW, result=result),), endings=(), session=None)


def test_a_section_is_in_every_report_and_inert(packs: Packs, toy: Any, tmp_path: Path) -> None:
    pytest.importorskip("jinja2", reason="the HTML report is an extra")
    packs(toy=toy_pack)
    account = account_of(toy).with_sections()
    assert account.sections == (Section(title="Toys <b>", facts=(Fact("claims that held", 1, "of all"),)),)
    write(str(tmp_path), account, Settings())
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "Toys &lt;b&gt;</h2>" in page
    assert "<dt>claims that held</dt><dd>1 of all</dd>" in page
    markdown = github.summary(account)
    assert "### Toys &#60;b&#62;\n" in markdown
    assert "- claims that held&#58; 1 of all\n" in markdown
    lines: list[str] = []

    class Screen:
        fullwidth = 80

        def write_sep(self, sep: str, title: str) -> None:
            lines.append(f"{sep} {title}")

        def write(self, text: str, **markup: bool) -> None: ...

        def write_line(self, text: str = "", **markup: bool) -> None:
            lines.append(text)

    terminal.summary(Screen(), account, details=False)
    assert lines[-2:] == ["- Toys <b>", "claims that held: 1 of all"]


def test_a_section_that_cannot_be_made_is_lost(packs: Packs, toy: Any) -> None:
    account = account_of(toy)
    packs(bad=pack("robustest_sections", ZeroDivisionError("by nothing")))
    account = account.with_sections()
    (lost,) = account.lost
    assert lost.startswith("the sections of packs could not be made: Expected robustest_sections of the pack 'bad'")
    assert account.session is not None
    assert account.session.exit == 3


def test_a_verb(packs: Packs, capsys: pytest.CaptureFixture[str]) -> None:
    packs(toy=toy_pack)
    assert main(["toy", "--times", "2"]) == 1
    assert capsys.readouterr().out == "toy toy \n"
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "print toys" in capsys.readouterr().out


def test_a_verb_that_robustest_has_is_refused(packs: Packs, capsys: pytest.CaptureFixture[str]) -> None:
    verb = Command(name="show", help="show", arguments=lambda parser: None, run=lambda given: 0)
    packs(bad=pack("robustest_commands", [verb]))
    assert main(["show"]) == 2
    assert (
        "pack 'bad' to give its command a name of its own but robustest has a command 'show'" in capsys.readouterr().err
    )


def test_a_verb_that_two_packs_have_is_refused(packs: Packs, capsys: pytest.CaptureFixture[str]) -> None:
    verb = Command(name="play", help="play", arguments=lambda parser: None, run=lambda given: 0)
    packs(one=pack("robustest_commands", [verb]), two=pack("robustest_commands", [verb]))
    assert main(["play"]) == 2
    assert "has a command 'play' too" in capsys.readouterr().err


def test_a_broken_pack_ends_every_command_as_wrong_usage(packs: Packs, capsys: pytest.CaptureFixture[str]) -> None:
    packs(bad=ImportError("gone"))
    assert main(["show"]) == 2
    assert "Expected to load the pack 'bad'" in capsys.readouterr().err


def test_a_verb_whose_run_is_refused_says_so(packs: Packs, capsys: pytest.CaptureFixture[str]) -> None:
    def run(given: argparse.Namespace) -> int:
        raise ConfigError("Expected toys but got none.")

    packs(toy=pack("robustest_commands", [Command(name="play", help="p", arguments=lambda parser: None, run=run)]))
    assert main(["play"]) == 2
    assert capsys.readouterr().err == "robustest: Expected toys but got none.\n"
