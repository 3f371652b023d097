"""A task of one's own: landmarks, pixels (row, column) that a model names, right within a distance of the true ones."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from robustest.tasks import Loss


@dataclass(frozen=True)
class Landmarks:
    """Targets and outputs are (B, P, 2); an answer holds where all its P points are within `reach` pixels."""

    reach: float
    name = "landmarks"
    one_class = False
    placed = True  # so that shifts which move things ask `moved`

    def __str__(self) -> str:
        return f"landmarks within {self.reach:g} pixels"

    @property
    def losses(self) -> Mapping[str, Loss]:
        return {name: lambda output, y: -self.margin(output, y) for name in ("ce", "log_odds", "margin")}

    def targets(self, given: object) -> Tensor:
        return torch.as_tensor(given, dtype=torch.float32)

    def check_targets(self, y: Tensor, width: int) -> None:
        assert y.shape[1] == width, f"{y.shape[1]} landmarks are given, and the model names {width}"

    def check_output(self, output: Tensor, rows: int, width: int) -> int:
        assert output.shape[2:] == (2,), "a model gives (B, P, 2)"
        return output.shape[1]

    def predictions(self, output: Tensor) -> Tensor:
        return output

    def margin(self, output: Tensor, y: Tensor) -> Tensor:
        y = y if output.ndim == y.ndim else y.unsqueeze(1)  # (B, A, P, 2): a row has several answers
        return self.reach - (output - y).norm(dim=-1).amax(-1)

    def holds(self, output: Tensor, y: Tensor) -> Tensor:
        return self.margin(output, y) >= 0

    def score(self, output: Tensor, y: Tensor) -> Tensor:
        return (1 + (self.margin(output, y) / self.reach).clamp(max=0)).clamp(min=0).double()

    agreement, right = score, holds  # predictions are outputs

    def moved(self, y: Tensor, source: Tensor, inside: Tensor) -> Tensor:
        far = (source.unsqueeze(1) - y[..., None, None]).norm(dim=2) + 1e6 * ~inside.unsqueeze(1)
        at, width = far.flatten(2).argmin(2), source.shape[-1]  # the pixel that came from nearest to each
        return torch.stack([at // width, at % width], 2).float()

    def describe(self, y: Tensor, clean: Tensor, predicted: Tensor, moved: Tensor | None = None) -> dict[str, str]:
        return {
            "answer": f"a landmark {float((predicted - (y if moved is None else moved)).norm(dim=-1).max()):.1f} px off"
        }
