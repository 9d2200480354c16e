"""``python -m src.etl``: versions of data, what changed between two, and their replay."""

import importlib
import sys
from pathlib import Path

from src.config import shell
from src.system.errors import UserError


def main() -> None:
    from src.data import versions

    words = shell.verb("etl", sys.argv[1:])
    dataset = words["dataset"]
    if dataset is None and (words["diff"] or words["replay"]):
        raise UserError("diff= and replay= want a dataset: python -m src.etl dataset=... diff=v1,v2")
    if dataset is None:
        print("\n".join(table(name) for name in sorted(versions.read_index())) or "no ETL has run yet")
    elif words["diff"]:
        pair = words["diff"].split(",")
        if len(pair) != 2:
            raise UserError(f"diff={words['diff']}: name two versions, diff=v1,v2")
        print(versions.difference(dataset, *pair))
    elif words["replay"]:
        frame = reload_etl(dataset, words["replay"])
        print(f"{dataset} {words['replay']}: {len(frame):,} rows, identical")
    else:
        print(table(dataset))


def table(dataset: str) -> str:
    """One line a version: rows, columns, input, when."""
    from src.data import versions

    names = versions.versions_of(dataset)
    if not names:
        raise UserError(f"dataset {dataset} has no ETL version; known: {', '.join(versions.read_index()) or 'none'}")
    lines = [dataset]
    for record in (versions.read_version(dataset, name) for name in names):
        arguments = " ".join(f"{key}={value}" for key, value in record["arguments"].items())
        shape = f"{record['rows']:>10,} x {len(record['columns']):<4} output {record['output']}"
        lines.append(f"  {record['version']:5} {record['made']}  {shape}  {record['location']} {arguments}")
    return "\n".join(lines)


def run_etl(dataset: str, etl=None, data=None, **arguments):
    """Run an ETL and give its result a version; prints which.

    Parameters
    ----------
    dataset : str
        a dataset of the project, or a name of your own for a notebook's function.
    etl : function, optional
        ``etl(df, **arguments) -> df``; the dataset's own where left out.
    data : DataFrame or path of a CSV or Parquet file, optional
        the input; the dataset's own where left out.

    Returns
    -------
    DataFrame
    """
    from src.data import versions
    from src.data.source import check_frame

    cfg = None
    if etl is None or data is None:

        from src.config.compose import compose

        cfg = compose([f"dataset={dataset}"])["dataset"]
        module = importlib.import_module(f"src.dataset.{dataset}")
        etl = etl or module.etl
    raw, location = (module.read(cfg), f"dataset={dataset}") if data is None else _read(data)
    frame, record = versions.run_etl(dataset, etl, check_frame(raw), location, arguments, cfg if data is None else None)
    print(f"{dataset} {record['version']}: {len(frame):,} rows x {len(frame.columns)}")
    return frame


def reload_etl(dataset: str, version: str, data=None):
    """The data of a version, made again by its recorded code from its recorded input, and proven equal.

    data : DataFrame or path, optional
        the input, where it was a frame in memory or has moved.
    """
    from src.data import versions
    from src.data.source import check_frame

    record = versions.read_version(dataset, version)
    if data is not None:
        raw, _ = _read(data)
    elif record["cfg"]:
        raw = importlib.import_module(f"src.dataset.{record['cfg']['name']}").read(record["cfg"])
    elif record["location"] == "memory":
        raise UserError(f"{dataset} {version} was made from a frame in memory: hand it in with data=df")
    else:
        raw, _ = _read(record["location"])
    return versions.replay(record, check_frame(raw))


def _read(data):
    """(frame, location) of a frame, or of the path of a file."""

    from src.data.source import read_csv, read_parquet

    if not isinstance(data, str | Path):
        return data, "memory"
    path = Path(data).expanduser().resolve()
    return (read_parquet if path.suffix == ".parquet" else read_csv)(path), str(path)


if __name__ == "__main__":
    shell.run(main)
