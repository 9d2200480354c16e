"""California housing: median house value of a block group, in $100,000 (Pace & Barry 1997)."""

import tarfile

import pandas as pd

from src.data.source import download, find_files, read_csv

RAW = ["longitude", "latitude", "age", "rooms", "bedrooms", "population", "households", "income", "value"]


def read(cfg: dict) -> pd.DataFrame:
    """Return 8 numeric features and MedHouseVal, the columns that papers use."""
    files = find_files("california_housing", "california_housing.csv.gz")
    if files:
        return read_csv(files[0])
    with tarfile.open(download(cfg["url"], cfg["checksum"], "california_housing")) as archive:
        raw = pd.read_csv(archive.extractfile("CaliforniaHousing/cal_housing.data"), names=RAW)
    return pd.DataFrame({
        "MedInc": raw["income"],
        "HouseAge": raw["age"],
        "AveRooms": raw["rooms"] / raw["households"],
        "AveBedrms": raw["bedrooms"] / raw["households"],
        "Population": raw["population"],
        "AveOccup": raw["population"] / raw["households"],
        "Latitude": raw["latitude"],
        "Longitude": raw["longitude"],
        "MedHouseVal": raw["value"] / 100_000,
    })
