"""``python -m src.sync run=t7``: bring trackers up to what the run's folder knows."""

import logging
import sys

from src.config import shell
from src.run.folder import Run, runs_folder
from src.run.trackers import sync_run
from src.system.errors import UserError
from src.system.paths import versions_in

log = logging.getLogger("reprise")


def main() -> None:
    words = shell.verb("sync", sys.argv[1:])
    names = [words["run"]] if words["run"] else [f"t{number}" for number in versions_in(runs_folder(), "t")]
    behind = []
    for name in names:
        if words["run"] is None and not (runs_folder() / name / "report.json").is_file():
            continue
        try:
            run = Run.open(name)
            if run.status == "running":
                log.info("%s is still running", name)
                continue
            trackers = sync_run(run)
        except UserError as error:
            log.info("%s: %s", name, error)
            behind.append(name)
            continue
        failed = [tracker for tracker, found in trackers.items() if "error" in found]
        behind += [f"{name} in {tracker}" for tracker in failed]
        log.info("%s: %s", name, ", ".join(f"{key} {'behind' if key in failed else 'complete'}" for key in trackers))
    if behind:
        raise UserError(f"still behind: {', '.join(behind)}")


if __name__ == "__main__":
    shell.run(main)
