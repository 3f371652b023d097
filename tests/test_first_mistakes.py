"""A hundred and twenty mistakes of a first day: each is an error or a failure that names the remedy, in few lines.

A row has the call, with a sound model `m` and samples `x`, `y` at hand, and words of the remedy; empty if the message
names none.
"""

# ruff: noqa: F401, S102 - rows are the text that a user would write, and use what is imported here

from __future__ import annotations

import copy
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset
from torchvision.transforms import Compose, ToTensor

import robustest
from robustest import (
    Linf,
    assert_accuracy,
    assert_no_spurious_feature,
    assert_ood_rejected,
    assert_rate,
    assert_robust_accuracy,
    assert_shift_accuracy,
    assert_worst_group_accuracy,
    scores_model,
)
from robustest.attacks import PGD
from robustest.cues import PixelPatch
from robustest.data import Outcomes
from robustest.errors import InNotebooks, RobustestError
from robustest.measure import measure_robust_accuracy
from robustest.words import folded

# Rows whose message may name no remedy, and lines of a message on a terminal of 80 columns and in a notebook.
UNNAMED, LINES = 5, 20


class Bright(nn.Module):
    """Says if the mean of an image exceeds 0.5."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(10.0))

    def forward(self, x: Tensor) -> Tensor:
        z = self.scale * (x.flatten(1).mean(1) - 0.5)
        return torch.stack([-z, z], 1)


class Net(nn.Module):
    """A convolution on three channels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 2, 3), nn.Linear(32, 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.conv(x).flatten(1))
        return out


class Items(Dataset[Any]):
    """A data set of a list of items."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, i: int) -> Any:
        return self.items[i]


class Augmented(Items):
    """A data set that draws its images."""

    def __getitem__(self, i: int) -> Any:
        return torch.rand(3, 6, 6), 0


class Session:
    """Stands in for a session of ONNX Runtime: not callable, and known by its module."""

    def run(self, names: Any, feed: Any) -> Any: ...


class Booster:
    """Stands in for a booster of XGBoost or LightGBM."""

    def predict(self, x: Any) -> Any: ...


class KerasModel:
    """Stands in for a model of Keras, which takes no tensors of torch."""

    def __call__(self, x: Any) -> Any:
        raise ValueError("Only input tensors may be passed as positional arguments.")


Session.__module__ = "onnxruntime.capi.onnxruntime_inference_collection"
Booster.__module__ = "xgboost.core"
KerasModel.__module__ = "keras.src.models.sequential"

value = torch.tensor((0.25, 0.44, 0.56, 0.75)).repeat(6)
x = value.view(-1, 1, 1, 1).expand(-1, 3, 6, 6).contiguous()
y = (value > 0.5).long()
m, net = Bright().eval(), Net().eval()
rows = np.random.default_rng(0).random((24, 3), dtype=np.float32)
target = (rows[:, 0] > 0.5).astype(int)
estimator = LogisticRegression().fit(rows, target)
texts = ["a fine film", "a dull film"] * 12


def attack(model: Any, data: Any, threat: Any = None, **options: Any) -> Any:
    given: dict[str, Any] = {"at_least": 0.5, "attack": "fgsm", **options}
    return assert_robust_accuracy(model, data, threat or Linf(0.01), **given)


def frame(**columns: Any) -> Any:
    import pandas

    return pandas.DataFrame(rows, columns=["a", "b", "c"]).assign(**columns)


pipeline = make_pipeline(FunctionTransformer(), LogisticRegression()).fit(frame(), target)
named = LogisticRegression().fit(frame(), target)


def recorded(text: str) -> None:
    with TemporaryDirectory() as folder:
        file = Path(folder, "answers.csv")
        file.write_text(text, encoding="utf-8")
        Outcomes.read(file)


class Rotation:
    """Stands in for a transform of torchvision."""

    def __init__(self, degrees: float) -> None: ...


def made_model() -> nn.Module:
    return m


MISTAKES: dict[str, tuple[str, str]] = {
    # what is given as the model
    "model and data swapped": ("attack((x, y), m)", "The model comes first"),
    "a path of weights": ("attack('model.pt', (x, y))", "load_state_dict(torch.load(path"),
    "a path of a checkpoint": ("attack(Path('last.ckpt'), (x, y))", "load_state_dict(torch.load(path"),
    "a path of a file of ONNX": ("attack('model.onnx', (x, y))", "robustest_onnx.onnx_model(path)"),
    "an address": ("attack('https://model.example', (x, y))", "robustest_http.open_inference_model"),
    "a name": ("attack('resnet18', (x, y))", "Build the model"),
    "weights": ("attack(m.state_dict(), (x, y))", "load_state_dict(weights)"),
    "a checkpoint": ("attack({'state_dict': m.state_dict(), 'epoch': 3}, (x, y))", "load_state_dict(weights)"),
    "a class": ("attack(Net, (x, y))", "make an instance"),
    "the class of an estimator": ("attack(LogisticRegression, (rows, target))", "make an instance"),
    "no model": ("attack(None, (x, y))", "lack its return"),
    "a function that makes the model": ("attack(made_model, (x, y))", "call it"),
    "a session of ONNX Runtime": ("attack(Session(), (x, y))", "scores_model(lambda x: session.run("),
    "a booster": ("attack(Booster(), (rows, target))", "scores_model(f)"),
    "a model of Keras": ("attack(KerasModel(), (x, y))", "keras_model(model)"),
    "an estimator that is not fitted": ("attack(LogisticRegression(), (rows, target))", "Call fit(x, y) first"),
    "a regressor": ("attack(LinearRegression().fit(rows, target), (rows, target))", "bin the target"),
    "a model without weights": ("attack(Bright().to('meta'), (x, y))", "load_state_dict(weights)"),
    "a trainer": ("attack(object(), (x, y))", "Pass its module"),
    "a file of answers": ("attack('runs/answers.csv', (x, y))", "assert_rate(Outcomes.read(path)"),
    "what load_state_dict returns": (
        "attack(m.load_state_dict(m.state_dict()), (x, y))",
        "call it on a line of its own",
    ),
    "eval without its call": ("attack(m.eval, (x, y))", "give the module, model.eval()"),
    "cpu without its call": ("attack(m.cpu, (x, y))", "give the module, model.cpu()"),
    "predict of an estimator": ("attack(estimator.predict, (rows, target))", "give the estimator itself"),
    # what the model answers
    "labels": ("attack(lambda v: m(v).argmax(1), (x, y))", "labels_model(f, classes=K)"),
    "labels as an array": ("attack(lambda v: m(v).argmax(1).numpy(), (x, y))", "labels_model(f, classes=K)"),
    "words": ("attack(lambda v: ['cat'] * len(v), (x, y))", "labels_model(f, classes=K)"),
    "one probability": ("attack(lambda v: m(v).softmax(1)[:, 1], (x, y))", "torch.stack([-z, z], 1)"),
    "one column": ("attack(lambda v: m(v)[:, 1:], (x, y))", "torch.stack([-z, z], 1)"),
    "a loss": ("attack(lambda v: m(v).sum(), (x, y))", "return the logits"),
    "logits and features": ("attack(lambda v: (m(v), v), (x, y))", "lambda x: model(x)[0]"),
    "logits in columns": ("attack(lambda v: m(v).T, (x, y))", "Transpose them"),
    "masks": ("attack(lambda v: torch.zeros(len(v), 2, 6, 6), (x, y))", "task=Segmentation"),
    "masks in a dict": ("attack(lambda v: {'out': m(v)}, (x, y))", "claim with task="),
    "boxes": ("attack(lambda v: [{'boxes': v}] * len(v), (x, y))", "a function that gives their logits"),
    "a pipeline's answers": (
        "attack(lambda v: [{'label': 'POSITIVE', 'score': 0.9}] * len(v), (x, y))",
        "give the model inside it",
    ),
    "a pipeline's scores": (
        "assert_accuracy(lambda v: [[{'label': 'A', 'score': 0.9}]] * len(v), (texts, y), at_least=0.5)",
        "sorted by label",
    ),
    "a network of tokens, given texts": (
        "assert_accuracy(nn.Embedding(9, 2), (texts, y), at_least=0.5)",
        "tokenizer(list(texts), padding=True",
    ),
    "NaN": ("attack(lambda v: m(v) * float('nan'), (x, y))", "look for 0/0"),
    "every class masked": ("attack(lambda v: m(v) - float('inf'), (x, y))", "look for 0/0"),
    "a function around a net in train mode": (
        "attack(lambda v: nn.functional.dropout(m(v), 0.5), (x, y))",
        "inside a function by its eval()",
    ),
    "dropout left on": ("attack(lambda v: m(v) + torch.randn(len(v), 2), (x, y))", "Switch off dropout"),
    "no gradient": ("attack(torch.no_grad()(m.forward), (x, y))", "Remove torch.no_grad()"),
    "numpy inside": ("attack(lambda v: torch.tensor(m(v).detach().numpy()), (x, y))", "Remove torch.no_grad()"),
    "an error of its own": ("attack(lambda v: v.nope, (x, y))", "Call it by itself"),
    "a network as a function of arrays": ("attack(scores_model(m), (x, y))", "torch.from_numpy(x)"),
    # shapes of samples
    "channels last": ("attack(net, (x.permute(0, 2, 3, 1), y))", "x.permute(0, 3, 1, 2)"),
    "channels last, as arrays": (
        "attack(net, (x.permute(0, 2, 3, 1).numpy(), y.numpy()))",
        "x.permute(0, 3, 1, 2)",
    ),
    "grey images": ("attack(net, (x[:, :1], y))", "x.expand(-1, 3, -1, -1)"),
    "flat images": ("attack(net, (x.flatten(1), y))", "in the shape that it was trained on"),
    "fewer columns": ("attack(estimator, (rows[:, :2], target))", "in the shape that it was trained on"),
    "a single sample": ("attack(net, (x[0], y[0]))", "(x[None], y[None])"),
    "images of several sizes": ("attack(m, [(torch.rand(3, n, n), 0) for n in (4, 5)])", "Resize them"),
    # what is given as the data
    "labels first": ("attack(m, (y, x))", "Pass samples before labels"),
    "no labels": ("attack(m, x)", "Add its labels: (x, y)"),
    "three parts": ("attack(m, (x, y, y))", "(x, y)"),
    "lists": ("attack(m, (x.tolist(), y.tolist()))", "np.asarray(x, np.float32)"),
    "a dict": ("attack(m, {'image': x, 'label': y})", "(data['image'], data['label'])"),
    "a list of tensors": ("attack(m, (list(x), y))", "(torch.stack(x), y)"),
    "lists of tensors and of labels": ("attack(m, (list(x), y.tolist()))", "(torch.stack(x), y)"),
    "a list of arrays": ("attack(m, (list(x.numpy()), y.numpy()))", "(np.stack(x), y)"),
    "the class of a data set": ("attack(m, TensorDataset)", "make an instance"),
    "a generator": ("attack(m, (pair for pair in zip(x, y)))", "collect it into (x, y)"),
    "an iterator of a loader": (
        "attack(m, iter(DataLoader(TensorDataset(x, y), batch_size=8)))",
        "collect it into (x, y)",
    ),
    "a folder": ("attack(m, 'data/test')", "Load it first"),
    "a folder as a path": ("attack(m, Path('data/test'))", "Load it first"),
    "items without a label": ("attack(m, Items(list(x)))", "Return both from __getitem__"),
    "other columns": ("attack(m, Items([{'img_path': x[0], 'y': 0}] * 4))", "Rename the column"),
    "random transforms": ("attack(m, Augmented([0] * 8))", "Switch off random transforms"),
    "a frame alone": ("attack(estimator, frame(y=target))", "(frame[columns], frame[label])"),
    "a frame with words": ("attack(estimator, (frame(c=['red', 'blue'] * 12), target))", "Use Columns(...)"),
    "no samples": ("attack(m, (x[:0], y[:0]))", "Check the path or filter"),
    "fewer labels": ("attack(m, (x, y[:-1]))", "from the same selection"),
    "the output of a tokenizer": (
        "assert_accuracy(m, ({'input_ids': y[:, None], 'attention_mask': y[:, None]}, y), at_least=0.5)",
        "call the tokenizer",
    ),
    "the name of the column with labels": ("attack(estimator, (frame(y=target), 'y'))", "frame['y'])"),
    "the values of a frame with words": (
        "attack(estimator, (frame(c=['red', 'blue'] * 12).to_numpy(), target))",
        "takes the frame, (frame, labels)",
    ),
    "missing values": ("assert_accuracy(estimator, (rows * np.nan, target), at_least=0.5)", "Leave such samples out"),
    "missing values in a frame": (
        "assert_accuracy(pipeline, (frame(c=[None, 0.5] * 12), target), at_least=0.5)",
        "Fill the missing values",
    ),
    # recorded answers
    "a frame as a file": ("Outcomes.read(frame())", "Outcomes.of(rows, item=None, score='a')"),
    "a list as recorded answers": ("assert_rate([True, False], at_least=0.5)", "rows as mappings"),
    "other columns of a file": ("recorded('id,correct\\nq1,1')", "item='id', score='correct'"),
    "words as scores": ("recorded('item,score\\nq1,yes')", "Write 1 for a right answer"),
    "scores in per cent": ("recorded('item,score\\nq1,85')", "low=, high="),
    # values of samples and labels
    "8-bit images": ("attack(m, ((x * 255).byte(), y))", "Divide 8-bit images by 255"),
    "images in 0..255": ("attack(m, (x * 255, y))", "bounds=(low, high)"),
    "normalised images": ("attack(m, ((x - 0.5) / 0.25, y))", "preprocessing=(mean, std)"),
    "NaN in a sample": ("attack(m, (x * float('nan'), y))", "Leave such samples out"),
    "tokens": ("attack(m, ((x * 9).long(), y))", "claim groups, transfer, cues or shifts"),
    "one-hot labels": ("attack(m, (x, torch.eye(2)[y]))", "y.argmax(1)"),
    "whole one-hot labels": ("attack(m, (x, torch.eye(2)[y].long()))", "y.argmax(1)"),
    "labels in a column": ("attack(m, (x, y[:, None]))", "y[:, 0]"),
    "labels with NaN": (
        "attack(m, (x, torch.where(torch.arange(24) < 2, float('nan'), y.float())))",
        "2 of 24 are NaN: leave out samples without a label",
    ),
    "float labels": ("attack(m, (x, y.float()))", "y.long()"),
    "targets of a regression": ("attack(m, (x, value * 37.5))", "task=Regression(tolerance=...)"),
    "words as labels": ("attack(m, (x, ['cat'] * 24))", "Number the classes from 0"),
    "labels from one": ("attack(m, (x, y + 1))", "y - 1 if they start at 1"),
    "labels of -1": ("attack(m, (x, y - 1))", "leave out samples without one"),
    "labels the other way round": ("attack(m, (x, 1 - y))", "check the labels, their order"),
    # arguments
    "a radius as text": ("attack(m, (x, y), Linf('8/255'))", "without quotes, e.g. 8 / 255"),
    "a threshold by another name": ("attack(m, (x, y), threshold=0.5)", "at_least"),
    "several shifts": ("assert_shift_accuracy(m, (x, y), ['fog', 'snow'], at_least=0.5)", "parametrize"),
    "the class of a shift": ("assert_shift_accuracy(m, (x, y), Rotation, at_least=0.5)", "make an instance"),
    "a result as a number": ("assert measure_robust_accuracy(m, (x, y), Linf(0.1)) >= 0.5", "result.estimate"),
    "a radius in grey levels": ("attack(m, (x, y), Linf(8))", "Did you mean Linf(8 / 255)"),
    "a number as threat": ("attack(m, (x, y), 8 / 255)", "such as Linf(8 / 255)"),
    "a class as threat": ("attack(m, (x, y), Linf)", "such as Linf(8 / 255)"),
    "eps as an option": ("assert_robust_accuracy(m, (x, y), eps=0.1, at_least=0.5)", "Linf(8 / 255)"),
    "no threat": (
        "assert_robust_accuracy(m, (x, y), at_least=0.5)",
        "Write assert_robust_accuracy(model, data, threat,",
    ),
    "a positional threshold": ("assert_robust_accuracy(m, (x, y), Linf(0.1), 0.5)", "limits are keywords"),
    "samples and labels apart": ("assert_robust_accuracy(m, x, y, Linf(0.1), at_least=0.5)", "one argument, (x, y)"),
    "no threshold": ("assert_robust_accuracy(m, (x, y), Linf(0.1))", "Expected at_least= or no_worse_than="),
    "per cent": ("attack(m, (x, y), at_least=50)", "Write 0.5 for 50 %"),
    "a misspelt threshold": ("attack(m, (x, y), at_leats=0.5)", "Did you mean 'at_least'"),
    "an attack with its steps": ("attack(m, (x, y), attack='PGD-20')", "Did you mean 'pgd'"),
    "the class of an attack": ("attack(m, (x, y), attack=PGD)", "PGD(steps=100)"),
    "a shift in words": ("assert_shift_accuracy(m, (x, y), 'gaussian noise', at_least=0.5)", "'gaussian_noise'"),
    "a shift of rows": (
        "assert_shift_accuracy(estimator, (rows, target), 'fog', at_least=0.5)",
        "function of your own",
    ),
    "a shift that gives arrays": (
        "assert_shift_accuracy(m, (x, y), lambda v: v.numpy(), at_least=0.5)",
        "Return a tensor",
    ),
    "a shift that breaks": ("assert_shift_accuracy(m, (x, y), lambda v: v.nope, at_least=0.5)", ""),
    "a shift that changes nothing": (
        "assert_shift_accuracy(m, (x, y), lambda v: v, at_least=0.5)",
        "raise the severity",
    ),
    "a cue outside the image": (
        "assert_no_spurious_feature(m, (x, y), PixelPatch(top=9, left=0), max_flip_rate=0.1)",
        "Move or shrink",
    ),
    "groups of other samples": ("assert_worst_group_accuracy(m, (x, y), [0] * 5, at_least=0.5)", "one for each sample"),
    "nothing outside": (
        "assert_ood_rejected(m, (x, y), max_fpr=0.1)",
        "Write assert_ood_rejected(model, data, outside,",
    ),
    "threat, model, data": (
        "assert_robust_accuracy(Linf(.1), m, (x, y), at_least=0.5)",
        "(model, (x, y), Linf(8 / 255))",
    ),
    "several threats": ("attack(m, (x, y), [Linf(0.01), Linf(0.02)])", "parametrize"),
    "probabilities of an estimator, as a function": (
        "attack(estimator.predict_proba, (rows, target))",
        "predict_proba, is scores_model(f)",
    ),
    "samples that are read once": ("attack(m, (map(lambda v: v, x), y))", "torch.stack(list(x))"),
    "a single text": (
        "assert_accuracy(scores_model(lambda v: np.eye(2)[[0] * len(v)]), ('a fine film', [0]), at_least=0.5)",
        "([text], [label])",
    ),
    "a sparse matrix": ("assert_accuracy(estimator, (csr_matrix(rows), target), at_least=0.5)", "x.toarray()"),
    "labels that the estimator was not fitted on": (
        "assert_accuracy(LogisticRegression().fit(rows, target + 1), (rows, target), at_least=0.5)",
        "as they were given to its fit()",
    ),
    "the name of a column of groups": (
        "assert_worst_group_accuracy(m, (x, y), 'sex', at_least=0.5)",
        "frame['sex']",
    ),
    "columns in another order": (
        "assert_accuracy(named, (frame()[['c', 'b', 'a']], target), at_least=0.5)",
        "frame[list(model.feature_names_in_)]",
    ),
    "a column is missing": ("assert_accuracy(named, (frame()[['a', 'b']], target), at_least=0.5)", "lacks c"),
    "a baseline that is not there": ("attack(m, (x, y), no_worse_than='no.json')", "--robust-update-baseline"),
    "statistics of 0..255": (
        "attack(m, (x, y), preprocessing=((123.7, 116.3, 103.5), (58.4, 57.1, 57.4)))",
        "divide both by 255",
    ),
    "transforms of pictures": (
        "attack(m, (x, y), preprocessing=Compose([ToTensor()]))",
        "the (mean, std) of Normalize",
    ),
    "a transform of pictures": ("attack(m, (x, y), preprocessing=ToTensor())", "the (mean, std) of Normalize"),
    "a task by name": ("attack(m, (x, y), task='segmentation')", "task=Segmentation(classes=19"),
    "another task by name": ("attack(m, (x, y), task='Regression')", "task=Regression(tolerance="),
    "part of a shift's name": ("assert_shift_accuracy(m, (x, y), 'jpeg', at_least=0.5)", "'jpeg_compression'"),
    "part of several names": ("assert_shift_accuracy(m, (x, y), 'blur', at_least=0.5)", "'gaussian_blur' or"),
    "statistics by name": ("attack(m, (x, y), preprocessing='imagenet')", "[0.485, 0.456, 0.406]"),
    "an unknown device": ("attack(m, (x, y), device='gpu')", "auto, cpu, cuda"),
    "the result as truth": (
        "assert measure_robust_accuracy(m, (x, y), Linf(0.4), at_least=0.9, attack='fgsm')",
        "Write assert_robust_accuracy(...)",
    ),
}


@pytest.mark.filterwarnings("ignore::robustest.HealthWarning")
@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_not_green_and_its_message_names_the_remedy_in_few_lines(name: str) -> None:
    call, remedy = MISTAKES[name]
    weights = copy.deepcopy(m.state_dict())
    with pytest.raises((RobustestError, AssertionError, TypeError, AttributeError)) as caught:
        exec(call, globals())
    error = caught.value
    assert remedy in str(error)
    # pytest adds the line of the test; a notebook the line of the cell.
    shown = [part for line in str(error).splitlines() for part in folded(f"E   {line}", 80, "    ")]
    assert len(shown) + 3 <= LINES
    if isinstance(error, InNotebooks):
        rendered = error._render_traceback_()
        assert len(rendered) <= LINES
        assert any(remedy in line for line in rendered)
        assert not any(str(Path(robustest.__file__).parent) in line for line in rendered)
    else:
        assert isinstance(error, TypeError) or not remedy  # Python's own: a signature, or a user's function
    assert all(torch.equal(now, weights[key]) for key, now in m.state_dict().items())


def test_there_are_ninety_five_and_nearly_all_name_the_remedy() -> None:
    assert len(MISTAKES) >= 95
    assert sum(not remedy for _, remedy in MISTAKES.values()) <= UNNAMED


def test_a_class_that_the_model_masks_is_never_predicted() -> None:
    def masked(v: Tensor) -> Tensor:
        return torch.cat([torch.full((len(v), 1), -torch.inf), m(v)], 1)

    plain = measure_robust_accuracy(m, (x, y), Linf(0.1), attack="pgd", exact=True)
    hidden = measure_robust_accuracy(masked, (x, y + 1), Linf(0.1), attack="pgd", exact=True)
    assert hidden.estimate == plain.estimate == 0.5
    assert hidden.outcomes == plain.outcomes
    # A sample of the masked class is always wrong: masking proves nothing.
    never = measure_robust_accuracy(masked, (x, y * 0), Linf(0.1), attack="pgd", exact=True)
    assert never.estimate == 0.0
