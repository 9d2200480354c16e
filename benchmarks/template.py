"""Train as a typical template does: LightningModule, DataLoader, MLFlowLogger, WandbLogger; 5 epochs.

python benchmarks/template.py FOLDER
"""

import os
import sys

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import MLFlowLogger, WandbLogger
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.classification import BinaryAccuracy, BinaryAUROC


class Net(L.LightningModule):
    def __init__(self, d_in: int):
        super().__init__()
        hidden = [nn.Linear(d_in, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU()]
        self.net = nn.Sequential(*hidden, nn.Linear(256, 1))
        self.accuracy, self.auroc = BinaryAccuracy(), BinaryAUROC()

    def training_step(self, batch, _index):
        x, y = batch
        loss = nn.functional.binary_cross_entropy_with_logits(self.net(x)[:, 0], y.float())
        self.log("train/loss", loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch, _index):
        x, y = batch
        logits = self.net(x)[:, 0]
        self.log("val/loss", nn.functional.binary_cross_entropy_with_logits(logits, y.float()))
        self.accuracy(logits.sigmoid(), y)
        self.auroc(logits.sigmoid(), y)
        self.log("val/accuracy", self.accuracy)
        self.log("val/auroc", self.auroc)

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


def main(folder: str) -> None:
    x, y = load_breast_cancer(return_X_y=True)
    x, x_val, y, y_val = train_test_split(x, y, test_size=0.2, random_state=0)
    scaler = StandardScaler().fit(x)
    train, val = (
        TensorDataset(torch.tensor(scaler.transform(a), dtype=torch.float32), torch.tensor(b))
        for a, b in ((x, y), (x_val, y_val))
    )
    os.makedirs(f"{folder}/wandb", exist_ok=True)
    store = {"tracking_uri": f"sqlite:///{folder}/mlflow.db", "artifact_location": f"{folder}/mlartifacts"}
    loggers = [
        MLFlowLogger("template", **store),
        WandbLogger(project="template", save_dir=folder, offline=True),
    ]
    keep = ModelCheckpoint(dirpath=f"{folder}/checkpoints", monitor="val/loss", auto_insert_metric_name=False)
    options = {"max_epochs": 5, "log_every_n_steps": 1, "accelerator": "cpu"}
    trainer = L.Trainer(**options, logger=loggers, callbacks=[keep])
    loaders = DataLoader(train, batch_size=256, shuffle=True), DataLoader(val, batch_size=256)
    trainer.fit(Net(x.shape[1]), *loaders)


if __name__ == "__main__":
    main(sys.argv[1])
