"""Weights & Biases: offline under ``outputs/wandb``, online where there is a login, or as ``WANDB_MODE`` says."""

import os
from pathlib import Path

from src.logger.mlflow import artifacts
from src.storage import outputs

EXIT_CODE = {"done": 0, "failed": 1, "stopped": 130, "killed": 137}


def mode() -> str:
    if "WANDB_MODE" in os.environ:
        return os.environ["WANDB_MODE"]
    if os.environ.get("WANDB_API_KEY"):
        return "online"
    from requests.utils import get_netrc_auth

    return "online" if get_netrc_auth(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")) else "offline"


class WandB:
    """One run in W&B; several in one process stay apart."""

    def start(self, run: dict) -> dict:
        """``run``: name, project, config (flat), tags, parent. Returns what finds the run again."""
        os.environ.setdefault("WANDB_SILENT", "true")
        import wandb

        known = run["known"].get("wandb", {})
        self.held = held(known)
        (outputs() / "wandb").mkdir(parents=True, exist_ok=True)
        self.run = wandb.init(
            project=run["project"],
            name=run["name"],
            id=known.get("id"),
            resume="allow" if known and mode() == "online" else None,
            dir=outputs(),
            mode=mode(),
            group=run["tags"].get("sweep"),
            tags=[f"{key}:{value}"[:64] for key, value in run["tags"].items()],
            config={"tags": run["tags"], **run["config"]},
            reinit="create_new",
            settings=wandb.Settings(console="off", silent=True, init_timeout=30, x_disable_stats=True),
        )
        folders = [*known.get("folders", []), str(Path(self.run.dir).parent)]
        return {"id": self.run.id, "folders": folders, "mode": mode()}

    def log(self, rows: list[dict]) -> None:
        for row in rows:
            if row["epoch"] in self.held:
                continue
            self.run.log({name: value for name, value in row.items() if name != "epoch"}, step=row["epoch"])

    def record(self, folder: Path, report: dict) -> None:
        """Final metrics as summary, the data set, and the run's files as one artifact."""
        import wandb

        self.run.summary.update({name: value for name, value in report["metrics"].items() if value is not None})
        self.run.config.update({"data_digest": report["data_digest"]})
        artifact = wandb.Artifact(f"run-{report['run']}", type="run")
        for path in artifacts(folder):
            artifact.add_file(str(path), path.relative_to(folder).as_posix())
        self.run.log_artifact(artifact)

    def finish(self, status: str) -> None:
        self.run.finish(exit_code=EXIT_CODE[status])


def held(known: dict) -> set[int]:
    """Epochs in the offline files of a run that goes on: an offline run is continued in a second folder of its id."""
    return {row["epoch"] for folder in known.get("folders", []) for row in read_offline(Path(folder))}


def read_offline(folder: Path) -> list[dict]:
    """The history rows of an offline run's file, {"epoch", metrics}; a file cut short gives what it holds."""
    import json

    from wandb.proto.wandb_internal_pb2 import Record
    from wandb.sdk.internal.datastore import DataStore

    rows = []
    for path in folder.glob("run-*.wandb"):
        store = DataStore()
        store.open_for_scan(str(path))
        while True:
            try:
                data = store.scan_data()
            except (AssertionError, OSError):  # a kill in the middle of a record
                break
            if data is None:
                break
            record = Record()
            record.ParseFromString(data)
            if record.WhichOneof("record_type") == "history":
                items = {item.key or "/".join(item.nested_key): item.value_json for item in record.history.item}
                row = {key: json.loads(value) for key, value in items.items()}
                rows.append({"epoch": int(row.pop("_step", record.history.step.num)), **row})
    return rows
