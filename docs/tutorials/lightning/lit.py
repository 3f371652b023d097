"""The names of Lightning that this tutorial uses; where Lightning is not installed, 25 lines stand in for them."""

try:
    from lightning.pytorch import LightningDataModule, LightningModule, Trainer
except ImportError:
    from torch import nn

    class LightningModule(nn.Module):
        """A network with its training step and its optimizer."""

    class LightningDataModule:
        """Data with their loaders."""

    class Trainer:
        """Train for a number of epochs; the arguments about printing and files have no effect."""

        def __init__(self, max_epochs, **_):
            self.max_epochs = max_epochs

        def fit(self, module, datamodule):
            datamodule.setup("fit")
            optimizer = module.configure_optimizers()
            for _ in range(self.max_epochs):
                for number, batch in enumerate(datamodule.train_dataloader()):
                    optimizer.zero_grad()
                    module.training_step(batch, number).backward()
                    optimizer.step()


QUIET = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}

__all__ = ["QUIET", "LightningDataModule", "LightningModule", "Trainer"]
