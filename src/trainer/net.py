"""Train a torch net with Lightning, predict with it, save it, load it."""

import math
import re
import shutil
import signal
import tempfile
from pathlib import Path

import lightning as L
import numpy as np
import torch
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import nn

from src.data.strands import averaged
from src.model.build import build, start
from src.model.lit import LitModel, in_full, to_predictions
from src.model.words import ARRAYS
from src.system.code import locate
from src.system.environment import check_memory
from src.system.errors import UserError, one_line
from src.trainer import history, ranks
from src.trainer.callbacks import KeepBest, ReportProgress, save_weights, silence_lightning
from src.trainer.dtype import dtype_of, own_dtype
from src.trainer.forward import check_forward
from src.trainer.loader import BatchOrder, Loader, eval_batch, loaders, show_padding, tensors

# minibatches per training_step; 1 where a Trainer option counts single batches. Lightning's overhead per step
# makes an epoch of a small net 1.65 x as long as a bare loop's; chunks make it 1.2 x
CHUNK = 16
# Trainer options that depend on single batches -> values that switch them off
COUNT_BATCHES = {
    "max_steps": (-1,), "min_steps": (None,), "limit_train_batches": (None, 1.0), "overfit_batches": (0,),
    "fast_dev_run": (False, 0), "gradient_clip_val": (None, 0), "accumulate_grad_batches": (1,),
    "precision": ("32-true", "64-true", "bf16-true", 32, 64), "strategy": ("auto",), "profiler": (None,),
}  # fmt: skip
LIT_OPTIONS = ("optimizer", "lr", "weight_decay", "schedule", "warmup", "label_smoothing", "ema")


def fit(
    model: dict, data, metric: dict, *, seed: int, trainer: dict, folder: Path, resume: bool, log_row,
    progress, n_threads: int, watch=None,
) -> tuple[nn.Module, int | None]:  # fmt: skip
    """Train the net that a model section describes; return it with its best weights, and their epoch.

    ``folder`` takes ``best.ckpt`` and ``last.ckpt``; `set_threads` has given torch its threads.
    """
    check_size(model, data.info, trainer)
    n_ranks = ranks.world_size(trainer)
    if n_ranks > 1 and ranks.launcher() is None:
        request = {"model": model, "trainer": trainer, "seed": seed, "resume": resume, "n_ranks": n_ranks}
        request |= {"metric": [metric["override"], metric["mode"]], "n_threads": max(1, n_threads // n_ranks)}
        return fit_in_ranks(request, data, folder, history.watched(log_row, watch), progress)
    silence_lightning()
    torch.manual_seed(seed)
    last, best = folder / "last.ckpt", folder / "best.ckpt"
    checkpoint = last if resume and last.is_file() else None
    net = _built(model, data, fresh=checkpoint is None)
    options = {name: model[name] for name in LIT_OPTIONS} | {"log_row": history.watched(log_row, watch)}
    module = lit_class(model)(net, data.info, metric, data.parts["val"]["y"], seed=seed, **options)
    train, val = loaders(data, model["batch_size"], None if trainer["overfit_batches"] else seed)
    if n_ranks > 1 and any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in net.modules()):
        train.sampler.least = 2 * n_ranks  # each rank needs two rows, too
    show_padding(train.sampler)
    more = model.get("keep_predictions", 0), model.get("last_epoch")
    keep = KeepBest(metric, model["patience"], folder, *more)
    if n_ranks > 1:
        train.shard = val.shard = (ranks.rank(), n_ranks)
        trainer = trainer | {"strategy": "ddp" if trainer["strategy"] == "auto" else trainer["strategy"]}
    lightning_trainer = make_trainer(trainer, [ReportProgress(progress), keep], folder.parent)
    if lightning_trainer.world_size == 1 and all(trainer[name] in off for name, off in COUNT_BATCHES.items()):
        module.automatic_optimization, train.chunk = False, CHUNK
    if str(trainer["precision"]).startswith("64"):
        module.double()  # Lightning would first load a checkpoint's float64 into float32
    run_trainer(lightning_trainer, module, train, val, checkpoint)
    if best.is_file() and not trainer["fast_dev_run"]:
        module.predictor.load_state_dict(torch.load(best, weights_only=True, map_location="cpu"))
    return module.predictor.eval(), keep.history.kept


def refit(model: dict, data, metric: dict, n: int, *, trainer: dict, **options) -> nn.Module:
    """Return the net after ``n`` epochs, by the schedule of the fit that has chosen them."""
    model = model | {"patience": None, "keep_predictions": 0, "last_epoch": n}
    trainer = trainer | {"max_time": None, "min_epochs": None, "min_steps": None}
    with tempfile.TemporaryDirectory() as folder:
        options |= {"folder": Path(folder) / "checkpoints", "resume": False, "log_row": lambda row: None}
        return fit(model, data, metric, trainer=trainer, **options)[0]


def _built(model: dict, data, fresh: bool) -> nn.Module:
    """Return the net, one that fits the data; ``fresh`` where no checkpoint brings its weights."""
    net = build(model["net"], data.info)
    if fresh:
        start(net, data)
    check_forward(net, data.parts["train"], data.info)
    if model["compile"]:
        net.compile()
    return net


def check_size(model: dict, info: dict, trainer: dict) -> None:
    """Refuse a net whose training needs more memory than is free, as its copy without memory tells."""
    try:
        with torch.device("meta"):
            net = build(model["net"], info)
    except Exception as error:
        if "overflow" in str(error).lower():  # of the number of bytes
            raise UserError(f"the net of model={model['name']} is larger than any memory") from None
        return  # a net that needs values while it is built: nobody knows its size before
    parameters = [*net.parameters(), *net.buffers()]
    n_bytes = sum(parameter.nbytes for parameter in parameters)
    if torch.cuda.is_available() and trainer["accelerator"] in ("auto", "gpu", "cuda"):
        n_copies = 2  # here; the rest is in the GPU's memory
    else:  # weights, gradients, a checkpoint, Adam's two moments, the average
        n_copies = 3 + 2 * ("Adam" in model["optimizer"]["class"]) + bool(model["ema"])
    if ranks.launcher() is None:
        n_copies *= ranks.n_devices(trainer)
    n = sum(parameter.numel() for parameter in parameters)
    check_memory(f"training the net of model={model['name']}, {n:,} parameters,", n_copies * n_bytes)


def fit_in_ranks(request: dict, data, folder: Path, log_row, progress) -> tuple[nn.Module, int | None]:
    """Train in processes of their own, one for each device of this machine; return what `fit` returns."""
    names, parts = (*ARRAYS, "y", "weight"), {}
    for part in ("train", "val"):
        parts[part] = {name: array for name, array in data.parts[part].items() if name in names}
    shared = folder / "ranks"
    shutil.rmtree(shared, ignore_errors=True)  # of a try that was killed
    try:
        request |= {"info": data.info, "transforms": data.transforms}
        kept = ranks.train(request, parts, shared, log_row=log_row, progress=progress)
        return load(shared / "net.pt", request["model"], data.info), kept
    finally:
        shutil.rmtree(shared, ignore_errors=True)


def lit_class(model: dict) -> type[LitModel]:
    """Return the class of ``model["lit"]``; `LitModel` if it is null, or missing in an older config."""
    if model.get("lit") is None:
        return LitModel
    cls = locate(model["lit"])
    if not isinstance(cls, type) or not issubclass(cls, LitModel):
        raise UserError(f"model.lit={model['lit']} should be a subclass of src.model.lit.LitModel")
    return cls


def make_trainer(options: dict, callbacks: list, folder: Path) -> L.Trainer:
    """Return Lightning's Trainer with ``options`` of the config; it has no logger, `LitModel` logs."""
    try:
        return L.Trainer(
            **options, callbacks=callbacks, default_root_dir=folder, logger=False, log_every_n_steps=1,
            use_distributed_sampler=False, enable_progress_bar=False, enable_model_summary=False,
            num_sanity_val_steps=0,
        )  # fmt: skip
    except (MisconfigurationException, TypeError, ValueError) as error:
        raise UserError(f"Lightning's Trainer refuses: {one_line(error)}") from None


def run_trainer(trainer: L.Trainer, module: LitModel, train: Loader, val: Loader, checkpoint) -> None:
    """Train ``module`` to its end, from ``checkpoint`` if there is one; Ctrl-C raises KeyboardInterrupt."""
    try:
        trainer.fit(module, train, val, ckpt_path=checkpoint and str(checkpoint), weights_only=True)
    except MisconfigurationException as error:
        raise UserError(f"Lightning's Trainer refuses: {one_line(error)}") from None
    except torch.OutOfMemoryError as error:
        reason = str(error).partition(". ")[0]
        raise UserError(f"{reason}: lower model.batch_size, or make the net smaller") from None
    except RuntimeError as error:
        reason = one_line(error)
        if "loading state_dict" in reason:
            raise UserError(f"{checkpoint} does not fit this net and this data: {reason}") from None
        if not str(trainer.precision).startswith("32") and re.search("dtype|Half|BFloat16|Double", reason):
            raise UserError(f"torch refuses trainer.precision={trainer.precision}: {reason}") from None
        if ranks.launcher() is None or not ranks.is_lost(error):
            raise
        raise UserError(ranks.lost(reason)) from None
    except SystemExit:  # Lightning turns Ctrl-C into this and leaves Ctrl-C switched off
        if not trainer.interrupted:
            raise
        signal.signal(signal.SIGINT, signal.default_int_handler)
        raise KeyboardInterrupt from None
    finally:
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
    if trainer.interrupted:
        raise KeyboardInterrupt


def n_epochs(model: dict, trainer: dict) -> int:
    return trainer["max_epochs"] or 0


@averaged
@torch.inference_mode()
def predict(net: nn.Module, part: dict, info: dict) -> np.ndarray:
    """Return `to_predictions` for the rows of ``part``, in their order, computed in the net's own dtype."""
    device = next(net.parameters()).device
    inputs = tensors({name: part[name] for name in ARRAYS if name in part}, info)
    net.eval()
    with own_dtype(net) as dtype:
        for name, x in inputs.items():
            inputs[name] = x.to(dtype) if x.is_floating_point() else x
        full = torch.promote_types(dtype, torch.float32)
        out = torch.empty(len(inputs["row"]), info["n_outputs"], dtype=full)
        for (batch,) in Loader(inputs, BatchOrder(len(out), eval_batch(info), lengths=part.get("lengths"))):
            rows = batch.pop("row")
            out[rows] = in_full(net(**{name: x.to(device) for name, x in batch.items()})).cpu()
    return to_predictions(out.numpy(), info)


def save(net: nn.Module, path: Path) -> None:
    """Save the weights alone: tensors by name."""
    save_weights(net.state_dict(), path)


def load(path: Path, model: dict, info: dict) -> nn.Module:
    net = build(model["net"], info)
    try:
        weights = torch.load(path, weights_only=True, map_location="cpu")
        if (dtype := dtype_of(weights.values())) != dtype_of(net.parameters()):
            net.to(dtype)
        net.load_state_dict(weights)
    except Exception as error:  # torch raises a dozen kinds for a damaged file
        raise UserError(f"{path} does not hold the weights of this model: {one_line(error)}") from None
    return net.eval()


def difference(path: Path, other: Path) -> float:
    """Return the largest difference of two saved nets' weights; inf if names, shapes or types differ."""
    ours, theirs = (torch.load(file, weights_only=True, map_location="cpu") for file in (path, other))
    if ours.keys() != theirs.keys():
        return math.inf
    return max((_tensor_difference(ours[name], theirs[name]) for name in ours), default=0.0)


def _tensor_difference(x: torch.Tensor, y: torch.Tensor) -> float:
    if x.shape != y.shape or x.dtype != y.dtype:
        return math.inf
    same = (x == y) | (x.isnan() & y.isnan())
    gaps = (x.double() - y.double()).abs().nan_to_num(nan=math.inf)
    return float(gaps[~same].max()) if not same.all() else 0.0
