"""The other side: the same model in `transformers.Trainer`, as its defaults have it."""

import tempfile
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import (
    DataCollatorWithPadding,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from benchmarks.cases import BATCH_SIZE, MINILM
from ell_tune.trainable import FoldData
from trainables.regressor import Config
from trainables.regressor.encoder.backbone import load_tokenizer
from trainables.regressor.essays.batches import Batch
from trainables.regressor.losses import Loss
from trainables.regressor.model import Regressor


class TokenLists(Dataset[dict[str, Any]]):
    """The essays as a Trainer takes them: unpadded, each with its labels."""

    def __init__(self, fold_data: FoldData) -> None:
        self._fold_data = fold_data

    def __len__(self) -> int:
        return len(self._fold_data.train_rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = self._fold_data.train_rows[index]
        tokens_T = self._fold_data.prepared["first"].essay(row).tolist()
        return {"input_ids": tokens_T, "attention_mask": [1] * len(tokens_T), "labels": self._fold_data.labels_NC[row]}


class ModelWithLoss(nn.Module):
    """The regressor as a Trainer takes it, counting the tokens that it sees, padding not counted."""

    def __init__(self, model: Regressor, loss: Loss) -> None:
        super().__init__()
        self.model = model
        self.num_tokens = 0
        self.loss = loss

    def forward(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor) -> dict[str, Tensor]:
        self.num_tokens += int(attention_mask.sum())
        no_ends_BT = torch.zeros_like(input_ids, dtype=torch.uint8)
        score_BC = self.model({"first": Batch(input_ids, attention_mask.bool(), no_ends_BT)})
        return {"loss": self.loss(score_BC, labels, len(labels)), "logits": score_BC}


class _Blocks(TrainerCallback):
    """Calls back after each block of steps, and leaves out of the next block's time what was done meanwhile."""

    def __init__(self, model: ModelWithLoss, steps: int, after_block: Callable[[int, float], None]) -> None:
        self._model, self._steps, self._after_block = model, steps, after_block

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._start()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if state.global_step % self._steps == 0:
            wait_for_gpu()
            self._after_block(self._model.num_tokens, time.perf_counter() - self._started)
            self._start()

    def _start(self) -> None:
        self._model.num_tokens = 0
        self._started = time.perf_counter()


def wait_for_gpu() -> None:
    """Until all that it was told to do is done, where there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def train_with_trainer(
    config: Config, fold_data: FoldData, model: Regressor, steps: int, after_block: Callable[[int, float], None]
) -> None:
    """Trains for all epochs of the config; after each `steps` steps calls `after_block(num_tokens, seconds)`."""
    with_loss = ModelWithLoss(model, Loss(config.loss, fold_data.targets, fold_data.score_range))
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            num_train_epochs=config.training.num_epochs,
            per_device_train_batch_size=BATCH_SIZE,
            learning_rate=config.optimizer.lr,
            seed=fold_data.seed,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
            bf16=config.training.precision == "bf16",
            fp16=config.training.precision == "fp16",
            dataloader_pin_memory=torch.cuda.is_available(),  # its default; without a GPU it only warns
        )
        trainer = Trainer(
            with_loss,
            arguments,
            data_collator=DataCollatorWithPadding(load_tokenizer(MINILM)),
            train_dataset=TokenLists(fold_data),
            callbacks=[_Blocks(with_loss, steps, after_block)],
        )
        trainer.remove_callback(PrinterCallback)  # its summary would get into --json
        trainer.train()
