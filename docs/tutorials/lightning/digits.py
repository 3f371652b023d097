"""A LightningModule that reads digits, and its data."""

import torch
from lit import QUIET, LightningDataModule, LightningModule, Trainer
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Digits(LightningDataModule):
    """Pictures (1, 8, 8) in [0, 1] with their labels: one half for training, the other for testing."""

    def setup(self, stage):
        digits = load_digits()
        x, y = torch.tensor(digits.images / 16, dtype=torch.float32).unsqueeze(1), torch.tensor(digits.target)
        self.train, self.test = TensorDataset(x[::2], y[::2]), TensorDataset(x[1::2], y[1::2])

    def train_dataloader(self):
        return DataLoader(self.train, batch_size=128)

    def test_dataloader(self):
        return DataLoader(self.test, batch_size=128)


class Reader(LightningModule):
    """A net of two layers, trained as usual."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, batch_idx):
        x, y = batch
        return nn.functional.cross_entropy(self(x), y)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 0.003)


def trained(module):
    """Train a module in seconds; return it in eval mode."""
    Trainer(max_epochs=60, **QUIET).fit(module, datamodule=Digits())
    return module.eval()
