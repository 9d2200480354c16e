"""Hostile packs: no code runs, no file outside, no half run, one sentence; every verb on what is let in."""

import hashlib
import io
import json
import os
import pickle
import stat
import time
import zipfile
from pathlib import Path

import harness as h
import joblib
import numpy as np
from harness import Found, Verb, runs_folder, versions_in

from src import load
from src.config.tree import leaves
from src.dataset import iris, wine

VALUES = [None, -1, 1e308, "x", [], {}, True, "../evil", "\x1b[31m", "x" * 100_000, [[[]]], {"a": {}}, "t1"]
NAMES = [
    "a\x1bb", "a\nb", "x" * 300, "\u202eevil", *"../evil /tmp/evil ..\\evil C:evil model/../../evil".split(),
    *"a//b Config.json config.json/x DONE/x model/ ./a ~/evil con a. model/MODEL_T1.PT".split(),
]  # fmt: skip
SIZES = [
    {"log.txt": bytes(500_000_000)}, {"log.txt": bytes(300_000_000), "plots/b.png": bytes(300_000_000)},
    {f"plots/{i}.png": b"" for i in range(30_000)}, {"a/" * 300 + "b": b"x"},
    {"config.json": b"[" * 200_000}, {"report.json": b'{"run": "' + b"x" * 50_000_000 + b'"}'},
    {"metrics.csv": b"epoch\n" + b"1\n" * 3_000_000},
]  # fmt: skip
MANIFESTS = [b"{", b"[]", b"3", b'{"files": []}', b'{"files": null}', b"\xff\xfe", b"[" * 10**5, b"1" * 9_999]
MARKS = [
    {"DONE": b"x"}, {"DONE": None}, {"trackers.json": b'{"mlflow": {"run_id": "1"}}'}, {".lock": b"{}"},
    {".key": b"0" * 32}, {"checkpoints/last.ckpt": b"x"}, {"sub/.hidden": b"x"}, {"log.txt": b"\x1b[2J"},
    {"transforms.json": None}, {"predictions.npz": None}, {"env.json": None}, {"metrics.csv": None},
    {"metrics.csv": b"epoch\nx\n"}, {"metrics.csv": b"epoch,val/loss\n1\n1,2,3\n"},
]  # fmt: skip


class Trap:
    """Runs a command when it is unpickled."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


def spoil(rng, content: bytes, n: int) -> bytes:
    """Return a JSON file with ``n`` of its values, at any depth, removed or replaced."""
    whole = json.loads(content)
    inner = [value for _, value in leaves({"x": whole}) if isinstance(value, dict)]
    for inside, key in rng.sample([(one, key) for one in inner for key in one], n):
        inside[key] = rng.choice(VALUES)
        if rng.random() < 0.3:
            del inside[key]
    return json.dumps(whole).encode()


def pickles(rng, files: dict, marker: Path) -> dict:
    """Return files that are, or hold, a pickle that runs a command."""
    dumped, arrays = io.BytesIO(), io.BytesIO()
    models = [name for name in files if name.startswith("model/")]
    joblib.dump(Trap(marker), dumped)
    np.savez(arrays, val_p=np.array([Trap(marker)], dtype=object))
    names = rng.choice([models, models, ["model/model_t9.joblib"], ["transforms.json"], ["predictions.npz"]])
    contents = [dumped.getvalue(), pickle.dumps(Trap(marker)), arrays.getvalue()]
    return dict.fromkeys(names, rng.choice(contents))


def classes(rng, files: dict, marker: Path) -> dict:
    """Return a config that names what runs a command, and what it is called with."""
    cfg, info = json.loads(files["config.json"]), json.loads(files["info.json"])
    popen = {"class": "subprocess.Popen", "args": ["touch", str(marker)]}
    section, change = rng.choice([
        ("model", {"net": popen}), ("model", {"classifier": popen, "regressor": popen}),
        ("model", {"lit": "subprocess.Popen", "optimizer": popen}), ("model", {"net": {"class": "os.kill"}}),
        ("dataset", {"name": "os", "etl": "os.system", "path": f"{marker};touch {marker}"}),
        ("trainer", {"profiler": popen, "callbacks": [popen], "max_epochs": None}),
    ])  # fmt: skip
    cfg[section] |= change
    cfg |= rng.choice([{}, {"metric": "os.system", "metric_mode": "max"}, {"_target_": "os.system"}])
    info |= popen | {"touch": 0}
    return {"config.json": json.dumps(cfg).encode(), "info.json": json.dumps(info).encode()}


def resealed(rng, files: dict, marker: Path) -> dict:
    """Return a report that says that the run was made here, and perhaps is not done yet."""
    report = json.loads(files["report.json"])
    report |= {"seals": report.get("signed", {}), "trusted": True, "pid": os.getpid(), "host": "here"}
    report["status"] = rng.choice(["running", "stopped", "killed", "done", "failed"])
    return classes(rng, files, marker) | {"report.json": json.dumps(report).encode()}


def code(rng, files: dict, marker: Path) -> dict:
    """Return recorded code that runs a command or leads elsewhere, or no zip at all."""
    inner = io.BytesIO(files["code.zip"])
    with zipfile.ZipFile(inner, "a") as archive:
        for name in rng.sample(["src/rerun.py", "src/__init__.py", "sitecustomize.py", "../evil.py"], 2):
            archive.writestr(name, f"import os; os.system('touch {marker}')")
    return {"code.zip": rng.choice([*[inner.getvalue()] * 4, files["code.zip"][:500]])}


def links(rng, files: dict, marker: Path) -> dict:
    """Return an entry that is a link, a pipe, a folder or a device: its content and its mode."""
    mode = rng.choice([stat.S_IFLNK, stat.S_IFLNK, stat.S_IFIFO, stat.S_IFDIR, stat.S_IFCHR]) | 0o4777
    target = rng.choice([str(marker.parent), "/etc/passwd", "../../..", "config.json"]).encode()
    return {rng.choice(["link", "model/link", "DONE", "info.json", "log.txt"]): (target, mode)}


def spoiled(*names: str):
    return lambda rng, files, marker: {name: spoil(rng, files[name], rng.choice([1, 1, 2])) for name in names}


def listed(files: dict) -> bytes:
    contents = {name: content[0] if type(content) is tuple else content for name, content in files.items()}
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    return json.dumps({"run": "t1", "files": digests}).encode()


KINDS = {  # kind -> function(rng, files, marker) that returns the files that change; None: left out
    "names": lambda rng, files, marker: dict.fromkeys(rng.sample(NAMES, rng.choice([1, 1, 2])), b"x"),
    "links": links,
    "sizes": lambda rng, files, marker: rng.choice(SIZES),
    "manifest": lambda rng, files, marker: {"manifest.json": rng.choice(MANIFESTS)},
    "digests": lambda rng, files, marker: {"manifest.json": spoil(rng, listed(files), 2)},
    "report": spoiled("report.json"),
    "config": spoiled("config.json"),
    "tables": spoiled("info.json", "transforms.json"),
    "environment": spoiled("env.json"),
    "seals": resealed,
    "classes": classes,
    "pickles": pickles,
    "code": code,
    "marks": lambda rng, files, marker: rng.choice(MARKS) | rng.choice(MARKS),
    "bytes": lambda rng, files, marker: {},
}


def write(made: Path, i: int, marker: Path, target: Path) -> str:
    """Write pack ``i`` and return its kind."""
    rng, kind = h.seeded("pack", i), list(KINDS)[i % len(KINDS)]
    with zipfile.ZipFile(made / rng.choice(["t1.zip", "t2.zip"])) as archive:
        files = {name: archive.read(name) for name in archive.namelist() if name != "manifest.json"}
    files |= KINDS[kind](rng, files, marker)
    files = {name: content for name, content in files.items() if content is not None}
    files.setdefault("manifest.json", listed(files))
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name)
            content, mode = content if type(content) is tuple else (content, 0o644)
            entry.external_attr, entry.compress_type = mode << 16, zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)
    if kind == "bytes":
        content = bytearray(target.read_bytes())
        for _ in range(rng.choice([1, 20])):
            content[rng.randrange(len(content))] ^= rng.randrange(1, 256)
        target.write_bytes(content[: rng.choice([len(content), len(content) // 2])])
    return kind


def predict(name: str) -> None:
    run = load(name)
    repr(run), run.rows, run.arrays
    run.predict((wine if run.cfg["dataset"]["name"] == "wine" else iris).read({}))


def attack(found: Found, made: Path, i: int) -> None:
    """Unpack one hostile pack, and use what is let in."""
    with h.place(made, "t1", "t2") as folder:
        marker, pack, before = folder / "marker", folder / "hostile.zip", h.finished()
        kind = write(made, i, marker, pack)
        Verb("unpack", f"file={pack}").check(found)
        new = [f"t{number}" for number in versions_in(runs_folder(), "t") if f"t{number}" not in before]
        found.check(len(new) < 2, "doubled", f"{kind}: {new}")
        for name in new:
            inside = list((runs_folder() / name).rglob("*"))
            wrong = [path for path in inside if path.is_symlink() or not (path.is_file() or path.is_dir())]
            wrong += [path for path in inside if path.name in ("trackers.json", "checkpoints", ".key")]
            found.check(not wrong, "other", f"{kind}: let in {wrong}")
            for verb, *overrides in (
                (predict, name), ("resume", f"run={name}"), ("resume", f"run={name}", "max_epochs=50"),
                ("replay", f"run={name}"), ("sync", f"run={name}"), ("diff", f"runs=t1,{name}"),
                ("pack", f"run={name}", f"file={folder}/again.zip"),
            ):  # fmt: skip
                Verb(verb, *overrides).check(found)
        h.check_listings(found)
        h.check_untouched(found, before)
        for name in new:
            Verb("clean", f"remove={name}").check(found, (0,))
        time.sleep(0.1)
        found.check(not marker.exists(), "code", f"{kind}: the marker is there")
        outside = [*folder.rglob("*evil*"), *made.glob("*evil*"), *Path("/tmp").glob("evil*")]
        found.check(not outside, "code", f"{kind}: written outside {outside}")
