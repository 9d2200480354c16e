"""Jobs of a sweep in other processes and on other machines; one that dies is a failed job with its reason."""

import json

import pytest

from src.study.jobs import rows
from src.study.lost import killed_by, lost
from src.study.pool import device_shares
from src.study.sweep import results


@pytest.mark.parametrize(
    ("visible", "n_pools", "n_each", "shares"),
    [
        ("0,1,2", 2, 1, ["0", "1"]),
        ("0,1,2", 3, "auto", ["0", "1", "2"]),
        ("0,1,2", 5, 1, ["0", "1", "2", "0", "1"]),
        ("4,5,6,7", 2, 2, ["4,5", "6,7"]),
        ("4,5,6", 2, 2, ["4,5", "6,4"]),
        ("GPU-1a,GPU-2b", 2, 1, ["GPU-1a", "GPU-2b"]),
        ("MIG-1a,MIG-2b", 3, 1, ["MIG-1a", "MIG-2b", "MIG-1a"]),
        ("2,-1,3", 2, 1, ["2", "2"]),  # CUDA reads up to the first wrong one
        ("3", 2, 1, ["3", "3"]),
        ("", 2, 1, [None, None]),
        ("-1", 2, 1, [None, None]),
        ("0,1", 2, 4, [None, None]),  # the trainer says what is missing
        ("0,1", 2, -1, [None, None]),
        ("0,1", 2, "0,1", [None, None]),
        ("0,1", 2, [0, 1], [None, None]),
    ],
)
def test_gpus_are_given_out_by_job(monkeypatch, visible, n_pools, n_each, shares):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert device_shares(n_pools, n_each) == shares


def test_gpus_are_counted_by_their_files(monkeypatch):
    """Of ``/dev``: nvidia0, nvidia1, nvidiactl, nvidia-uvm; the numbers of CUDA count from 0."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for n in (0, 1, 3):
        monkeypatch.setattr("src.study.pool.Path.glob", lambda path, pattern, n=n: iter(range(n)))
        assert device_shares(2) == ([str(i % n) for i in range(2)] if n else [None, None])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("terminated.\nThe exit codes of the workers are {SIGKILL(-9)}",
         "its process was killed by SIGKILL, perhaps out of memory"),
        ("The exit codes of the workers are {SIGSEGV(-11)}", "its process was killed by SIGSEGV"),
        ("The exit codes of the workers are {SIGRTMIN(-34)}", "its process was killed by SIGRTMIN"),
        ("The exit codes of the workers are {EXIT(3)}", "its process ended with exit code 3"),
        ("A child process terminated abruptly", "its process died"),
    ],
)  # fmt: skip
def test_the_reason_for_which_a_process_died(text, reason):
    assert killed_by(text) == reason


def test_a_job_that_died_before_it_had_a_run(tmp_path, monkeypatch, capsys):
    """It is in jobs.jsonl and in the table; ``on_error=stop`` holds for it, too."""
    monkeypatch.setenv("OUTPUTS_DIR", str(tmp_path))
    folder = tmp_path / "sweeps/s1"
    folder.mkdir(parents=True)
    (folder / "sweep.json").write_text(json.dumps({"n_jobs": 3, "began": 0, "runs": {}}))
    monkeypatch.setenv("REPRISE_SWEEP", str(folder))
    failed = []
    record = lost(2, ["seed=4", "dataset=wine"], "its process died", "stop", failed)
    assert record.return_value != record.return_value and failed == ["job 2"]
    assert capsys.readouterr().err == "error: job 2: its process died\n"
    (row,) = rows(folder)
    assert row["job"] == 2 and row["status"] == "failed" and row["overrides"] == ["seed=4", "dataset=wine"]
    (found,) = results("s1").to_dict("records")
    assert found["seed"] == "4" and found["status"] == "failed" and found["error"] == "its process died"
    assert (folder / ".stop").is_file()
