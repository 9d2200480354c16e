"""Find the run that has already done what a config asks for: ``needed=true``."""

import hashlib
from pathlib import Path

from src.config.tree import flat
from src.data.load import load_frame
from src.data.shared import kept_frame
from src.run.code import changed_since
from src.run.folder import BrokenRun, Run, opened, run_names, runs_folder
from src.run.own import named_code, with_notebook
from src.system.code import code_files
from src.system.errors import log
from src.system.files import to_json
from src.system.tables import located

# keys that change no result; of a file the digest decides, not its path
NO_RESULT = ("logger.", "tags", "pictures", "profile", "on_error", "needed", "sweep", "keep_", "dataset.path")
NO_RESULT += ("cv.n_jobs", "register", "budget", "team")
_known = {}  # {run: (when it ended, its setting)}
_checked = {}  # {code and classes: whether they are today's}


def done_before(cfg: dict, shared: Path | None = None, frame=None) -> Run | None:
    """Return the newest done run of the same config, code and data if ``cfg["needed"]`` asks for one.

    shared : as of `run_job`; then the table that is read here is kept for the job
    """
    if not cfg.get("needed"):
        return None
    cfg = with_notebook(cfg)
    setting, dataset = _setting(cfg), located(cfg["dataset"])
    alike = [opened(name) for name, known in reversed(_settings().items()) if known == setting]
    alike = [run for run in alike if not run.report.get("changed") and _same_code(run)]
    if not alike:
        return None
    _, record = kept_frame(dataset) if shared else load_frame(dataset, frame)
    for run in alike:
        if run.report["data_digest"] == record["output"]:
            log.info("nothing to train, done before as %s", run)
            return run
    return None


def _settings() -> dict[str, str | None]:
    """Return {run: `_setting`} of the runs that are done, ascending."""
    found = {}
    for name in run_names():
        done = runs_folder() / name / "DONE"
        ended = done.stat().st_mtime_ns if done.is_file() else None
        if ended and _known.get(name, (None,))[0] != ended:
            run = opened(name)
            _known[name] = (ended, None if isinstance(run, BrokenRun) else _setting(run.cfg))
        if ended:
            found[name] = _known[name][1]
    return found


def _setting(cfg: dict) -> str:
    return to_json({key: value for key, value in sorted(flat(cfg).items()) if not key.startswith(NO_RESULT)})


def _same_code(run: Run) -> bool:
    """Return whether a run's code is today's; found out once for runs that share code and classes: 0.4 s."""
    names, dataset = named_code(run.cfg), run.cfg["dataset"]
    now = tuple((name, file.stat().st_mtime_ns) for name, file in code_files(names).items())
    try:
        code = hashlib.sha256((run.folder / "code.zip").read_bytes()).digest()
        key = (code, now, *names, dataset.get("reader") or dataset["name"], "net" in run.cfg["model"])
        if key not in _checked:
            _checked[key] = not changed_since(run)
        return _checked[key]
    except (OSError, BrokenRun):
        return False
