"""Weights & Biases: offline under ``outputs/wandb``, online with a login, or as ``WANDB_MODE`` says."""

import json
import os
import re
import shlex
import struct
import time
from pathlib import Path

from src.logger.artifacts import artifacts
from src.system.errors import UserError, nearest
from src.system.paths import outputs

EXIT_CODE = {"done": 0, "pruned": 0, "failed": 1, "stopped": 130, "killed": 137}
FINISH_TIMEOUT = 180  # seconds at the end of a run for the upload; what is left then is for sync
# WANDB_MODE -> what it means
MODES = {word: word for word in ("online", "offline", "shared", "disabled")}
MODES |= {"run": "online", "dryrun": "offline"}
MAX_TAG, MAX_NAME = 64, 128  # characters
BLOCK = 32768  # bytes of a block in an offline file


def is_off() -> bool:
    return os.environ.get("WANDB_MODE", "").strip().lower() == "disabled"


def mode() -> str:
    """Return a value of `MODES`."""
    if wanted := os.environ.get("WANDB_MODE", "").strip().lower():
        if wanted not in MODES:
            hint = nearest(wanted, MODES)
            raise UserError(f"WANDB_MODE={wanted}: should be online, offline or disabled{hint}")
        return MODES[wanted]
    if os.environ.get("WANDB_API_KEY"):
        return "online"
    from requests.utils import get_netrc_auth

    return "online" if get_netrc_auth(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")) else "offline"


class WandB:
    """One run in W&B; several in one process stay apart."""

    def start(self, run: dict, known: dict) -> dict:
        """Start a run and return its id, or go on with the run of ``known``, what an earlier start returned.

        run : as of `Fanout`
        """
        os.environ["WANDB_SILENT"], self.goes_on = "true", bool(known)
        os.environ["WANDB_MODE"] = mode()  # W&B itself refuses "" and OFFLINE
        import wandb
        from wandb.sdk.wandb_run import Run

        begun = run.get("started", time.time())
        Run._start_time = property(lambda self: begun, lambda self, now: None)  # W&B has no option for it
        folder = outputs() / "wandb"
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):  # W&B would write to a temporary folder
            raise UserError(f"{folder} cannot be written to")
        tags = [f"{key}:{run['tags'][key]}" for key in ("dataset", "model") if key in run["tags"]]
        tags = list(dict.fromkeys(tag[:MAX_TAG] for tag in [*tags, *run.get("labels", ())]))
        config = {key: run["tags"].get(key) for key in ("version", "git")} | run.get("nested", run["config"])
        settings = wandb.Settings(
            console="off", silent=True, x_disable_stats=True, init_timeout=12,
            finish_timeout=FINISH_TIMEOUT, finish_timeout_raises=True,
        )  # fmt: skip
        self.run = wandb.init(
            project=allowed(run["project"]), name=run["name"], id=known.get("id"), config=config, tags=tags,
            group=run.get("group"), dir=outputs(), mode=mode(), reinit="create_new",
            resume="allow" if known and mode() == "online" else None, settings=settings,
        )  # fmt: skip
        uploaded = set(range(self.run.starting_step))  # as the server says, if there is one
        self.held = epochs_in(known["folders"]) if known.get("mode") == "offline" else uploaded
        folders = [*known.get("folders", []), str(Path(self.run.dir).parent)]
        return {"id": self.run.id, "folders": folders, "mode": mode()}

    def log(self, rows: list[dict]) -> None:
        """Log rows of history, without those that W&B holds."""
        for row in rows:
            if row["epoch"] not in self.held:
                values = {name: value for name, value in row.items() if name not in ("epoch", "time")}
                values["_timestamp"] = row.get("time", time.time())
                self.run.log(values, step=row["epoch"], commit=True)

    def record(self, folder: str, report: dict) -> None:
        """Log the final metrics as summary, the data as what the run used, its model and its other files.

        The data's artifact holds its digest and no rows; the model's gets another version with each run.
        """
        import wandb

        metrics, data = report["metrics"], report["dataset"]
        self.run.summary.update({name: metrics[name] for name in metrics if metrics[name] is not None})
        self.run.config.update({"data_digest": report["data_digest"]})
        known = {key: report.get(key) for key in ("data_digest", "etl_version", "input_digest")}
        used = wandb.Artifact(_name(data), type="dataset", metadata=known)
        with used.new_file("digest.json", encoding="utf-8") as stream:  # makes a version of each digest
            json.dump(known, stream)
        self.run._log_artifact(used, is_user_created=True, use_after_commit=True)  # else: online alone
        made = wandb.Artifact(_name(f"{report['model']}-{data}"), type="model", metadata=metrics)
        other = wandb.Artifact(f"run-{report['run']}", type="run")
        for path in artifacts(folder):
            name = path.relative_to(folder).as_posix()
            (made if name.startswith("model/") else other).add_file(str(path), name)
        for artifact, aliases in ((made, ["latest", report["run"]]), (other, None)):
            self.run.log_artifact(artifact, aliases=aliases)

    def finish(self, status: str, ended: float | None = None, error: str | None = None) -> None:
        """Close the run; W&B takes no time for its end, so ``ended`` is for others."""
        if error:
            self.run.summary["error"] = error
        elif self.run.summary.get("error"):  # of an earlier try
            del self.run.summary["error"]
        if status == "pruned" or self.goes_on:
            self.run.summary["pruned"] = status == "pruned"
        self.run.finish(exit_code=EXIT_CODE[status])

    @staticmethod
    def link(known: dict) -> str:
        """Return the command that uploads an offline run, or an online run's id."""
        command = f"wandb sync {shlex.quote(known['folders'][-1])}"
        return command if known["mode"] == "offline" else known["id"]


def _name(text: str) -> str:
    """Return the name of an artifact as W&B takes it."""
    return re.sub(r"[^\w.-]", "-", text, flags=re.ASCII)[:MAX_NAME]


def allowed(project: str) -> str:
    """Return a project's name as W&B takes it."""
    return re.sub(r"[/\\#?%:]", "-", project)[:128]


def epochs_in(folders: list[str]) -> set[int]:
    """Return the epochs in offline files; each time that a run goes on offline, it gets another folder."""
    epochs = set()
    for folder in folders:
        epochs |= {row.step.num for row in records(folder).get("history", [])}
    return epochs


def records(folder: str | Path) -> dict[str, list]:
    """Return all records of an offline run's file by kind, in their order: ``records(folder)["history"]``.

    W&B has no reader in Python. The file is 7 bytes and a LevelDB log in blocks of 32 KiB: a record's head,
    never split, is checksum (4 bytes), length (2) and kind (1: whole, 2 to 4: first, middle, last piece). A
    file that was cut short gives the records that are complete.
    """
    from google.protobuf.message import DecodeError
    from wandb.proto.wandb_internal_pb2 import Record

    found, content, at = {}, b"", 7
    raw = b"".join(path.read_bytes() for path in Path(folder).glob("*.wandb"))
    while at + 7 <= len(raw):
        if BLOCK - at % BLOCK < 7:
            at += BLOCK - at % BLOCK
            continue
        length, kind = struct.unpack_from("<HB", raw, at + 4)
        content, at = content + raw[at + 7 : at + 7 + length], at + 7 + length
        if kind in (1, 4):
            try:
                record, content = Record.FromString(content), b""
            except DecodeError:  # cut by a kill
                break
            name = record.WhichOneof("record_type")
            found.setdefault(name, []).append(getattr(record, name))
    return found
