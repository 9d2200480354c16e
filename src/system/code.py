"""The code that a run was made with: its snapshot, and which modules are the user's own."""

import importlib.util
import sysconfig
import zipfile
from pathlib import Path

from src.system.files import replacing
from src.system.paths import CHECKOUT


def snapshot_code(path: Path, names=()) -> None:
    """The code and the configs as they are now, as a zip that is the same for the same files.

    names : iterable of str
        dotted names that the config uses; the user's own modules among them, which no package brings, are kept, too.
    """
    files = {}
    for folder, suffix in (("src", "*.py"), ("conf", "*.yaml")):
        for file in (CHECKOUT / folder).rglob(suffix):
            files[file.relative_to(CHECKOUT).as_posix()] = file
    for top in {name.partition(".")[0] for name in names} - {"src"}:
        files |= own_module(top)
    with replacing(path) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name)  # with no date of its own
            archive.writestr(entry, files[name].read_bytes(), zipfile.ZIP_DEFLATED)


def own_module(top: str) -> dict[str, Path]:
    """{path in an archive: file} of a module that is neither Python's own nor installed; {} for the others."""
    spec = importlib.util.find_spec(top)
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return {}
    file = Path(spec.origin).resolve()
    of_python = file.is_relative_to(Path(sysconfig.get_path("stdlib")).resolve())
    if of_python or {"site-packages", "dist-packages"} & set(file.parts):
        return {}
    if file.name != "__init__.py":
        return {file.name: file}
    return {f"{top}/{inner.relative_to(file.parent).as_posix()}": inner for inner in file.parent.rglob("*.py")}
