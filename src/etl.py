"""List, compare and replay the versions of data: ``dataset=adult``."""

from src.config import shell
from src.config.compose import compose
from src.data import versions
from src.data.load import read_and_etl, read_input, reload_etl
from src.system.errors import UserError


def etl(
    dataset: str | None = None, diff: str | None = None, replay: str | None = None,
    dataset_path: str | None = None,
) -> None:  # fmt: skip
    """List the versions of a dataset's ETL, compare two, or run one again and prove that its data is equal.

    python -m src.etl
    python -m src.etl dataset=adult
    python -m src.etl dataset=adult diff=v1,v2
    python -m src.etl dataset=adult replay=v1

    dataset : a dataset; left out: all of them
    diff : two versions: what changed between them?
    replay : a version to run again, by its recorded code from its recorded input
    dataset_path : where the file of that input is now, if it was moved: dataset.path=/new/my.csv
    """
    if dataset is None and (diff or replay):
        raise UserError("diff= and replay= need a dataset: python -m src.etl dataset=... diff=v1,v2")
    if dataset is None:
        shell.show("\n".join(map(versions.listing, versions.datasets())) or "no ETL has run yet")
    elif diff:
        pair = diff.split(",")
        if len(pair) != 2:
            raise UserError(f"diff={diff}: name two versions, diff=v1,v2")
        shell.show(versions.difference(dataset, *pair))
    elif replay:
        shell.show(f"{dataset} {replay}: {len(reload_etl(dataset, replay, dataset_path)):,} rows, identical")
    else:
        shell.show(versions.listing(dataset))


def run_etl(dataset: str, etl=None, data=None, **arguments):
    """Run an ETL, give its result a version, print which, and return the result as a DataFrame.

    dataset : a dataset of the project, or a new name for a function of a notebook
    etl : a function ``etl(df, **arguments) -> df``; left out: the dataset's
    data : the input, a DataFrame or the path of a CSV or Parquet file; left out: what the dataset reads
    """
    cfg, location = None, f"dataset={dataset}"
    if etl is None or data is None:
        read, its_etl = read_and_etl(dataset)
        etl = etl or its_etl
    if data is None:
        cfg = compose([location])["dataset"]
        raw, _ = read_input(read(cfg))
    else:
        raw, location = read_input(data)
        cfg = None if location == "memory" else {"reader": "csv", "path": location, "read": {}}
    frame, record = versions.run_versioned(dataset, etl, raw, location, arguments, cfg)
    shell.show(f"{dataset} {record['version']}: {len(frame):,} rows x {len(frame.columns)}")
    return frame


if __name__ == "__main__":
    shell.call(etl)
