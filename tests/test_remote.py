"""Runs in an S3 bucket, on a real server of its API: whole or not there, also after kills."""

import hashlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time

import pytest
from conftest import CHECKOUT, QUIET

from src import fit, load
from src.share.remote import pull, push
from src.system.errors import UserError


@pytest.fixture(scope="module")
def s3(outputs):
    """A client of an S3 server on loopback with the bucket ``team``."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        values = {"ENDPOINT_URL": f"http://{host}:{port}", "ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b"}
        for key, value in (values | {"DEFAULT_REGION": "us-east-1"}).items():
            patch.setenv(f"AWS_{key}", value)
        client = boto3.client("s3")
        client.create_bucket(Bucket="team")
        yield client
    server.stop()


@pytest.fixture(scope="module")
def run(outputs):
    return fit("model=linear", "dataset=wine", *QUIET)


def keys(s3, prefix: str) -> list[str]:
    return [one["Key"] for one in s3.list_objects_v2(Bucket="team", Prefix=prefix).get("Contents", ())]


def test_a_run_goes_there_and_comes_back(s3, run):
    told = []
    address = push(run.name, "s3://team/wine/", told.append)
    assert address == f"s3://team/wine/{run.name}" and len(told) == len(keys(s3, "wine/")) - 1
    manifest = json.load(s3.get_object(Bucket="team", Key=f"wine/{run.name}/manifest.json")["Body"])
    names = (*manifest["files"], "manifest.json")
    assert {f"wine/{run.name}/{name}" for name in names} == {*keys(s3, "wine/")}
    got = pull(address)
    assert got.name != run.name and got.report["received_as"] == run.name
    assert got.report["metrics"] == run.report["metrics"] and load(got.name).status == "done"
    assert not list((run.folder.parent).glob(".pull-*.part"))
    told.clear()
    assert push(run.name, "s3://team/wine", told.append) == address and told == []  # it is there


def test_a_push_goes_on_where_it_was(s3, run):
    push(run.name, "s3://team/again")
    for name in ("manifest.json", "report.json"):
        s3.delete_object(Bucket="team", Key=f"again/{run.name}/{name}")
    s3.put_object(Bucket="team", Key=f"again/{run.name}/config.json", Body=b"{", Metadata={"sha256": "0"})
    with pytest.raises(UserError, match=r"s3://team/again/t\d+ is no whole run$"):
        pull(f"s3://team/again/{run.name}")
    told = []
    address = push(run.name, "s3://team/again", told.append)
    assert [line.split()[3] for line in told] == ["config.json", "report.json"]
    assert pull(address).report["metrics"] == run.report["metrics"]


def test_another_run_of_the_same_number_is_not_written_over(s3, run):
    address = push(run.name, "s3://team/other")
    text = s3.get_object(Bucket="team", Key=f"other/{run.name}/manifest.json")["Body"].read()
    other = json.loads(text)
    other["files"]["report.json"] = "0" * 64
    s3.put_object(Bucket="team", Key=f"other/{run.name}/manifest.json", Body=json.dumps(other))
    with pytest.raises(UserError, match=f"{address} is another run: push to another prefix"):
        push(run.name, "s3://team/other")


def test_what_is_damaged_there_does_not_become_a_run(s3, run):
    address, before = push(run.name, "s3://team/bad"), {path.name for path in run.folder.parent.iterdir()}
    key = f"bad/{run.name}/info.json"
    s3.put_object(Bucket="team", Key=key, Body=b"{}")
    with pytest.raises(UserError, match=f"{address} is damaged: info.json does not match its digest"):
        pull(address)
    manifest = {"files": {"../../etc/x": "0" * 64}}
    s3.put_object(Bucket="team", Key=f"bad/{run.name}/manifest.json", Body=json.dumps(manifest))
    with pytest.raises(UserError, match=r"holds '../../etc/x', which no run has"):
        pull(address)
    s3.put_object(Bucket="team", Key=f"bad/{run.name}/manifest.json", Body=b"[")
    with pytest.raises(UserError, match=r"manifest.json is damaged"):
        pull(address)
    assert {path.name for path in run.folder.parent.iterdir()} - before <= {".pull.lock"}


def test_a_prefix_names_the_runs_below_it(s3, run):
    address = push(run.name, "s3://team/named")
    with pytest.raises(UserError, match=f"s3://team/named is no whole run; below it there are {address}$"):
        pull("s3://team/named")


@pytest.mark.parametrize(
    ("to", "says"),
    [
        ("team/x", "team/x: should be an address like s3://bucket/prefix"),
        ("s3://", "should be an address like"),
        ("s3://no-such-bucket/x", "s3://no-such-bucket/x: .*bucket does not exist.*AWS_ENDPOINT_URL"),
    ],
)
def test_a_wrong_address_is_one_sentence(s3, run, to, says):
    with pytest.raises(UserError, match=says):
        push(run.name, to)
    with pytest.raises(UserError, match=re.escape(to)):
        pull(to)


def test_a_dead_store_and_missing_keys_are_one_sentence(s3, run, monkeypatch):
    monkeypatch.setattr("src.share.remote.TRIES", 1)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(UserError, match="Could not connect to the endpoint URL"):
        push(run.name, "s3://team/x")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with pytest.raises(UserError, match="Unable to locate credentials"):
        push(run.name, "s3://team/x")


def test_too_large_a_run_is_refused_before_it_is_fetched(s3, run):
    address = push(run.name, "s3://team/large")
    with pytest.raises(UserError, match=r"1KB are allowed: add max_size="):
        pull(address, max_size="1KB")


def assert_whole(s3, place: str) -> bool:
    """Return whether a run is there; then each of its files has its digest."""
    if f"{place}/manifest.json" not in keys(s3, place):
        return False
    files = json.load(s3.get_object(Bucket="team", Key=f"{place}/manifest.json")["Body"])["files"]
    for name, digest in files.items():
        body = s3.get_object(Bucket="team", Key=f"{place}/{name}")["Body"].read()
        assert hashlib.sha256(body).hexdigest() == digest
    return True


@pytest.mark.slow
def test_a_push_and_a_pull_that_are_killed_ten_times_end_whole(s3, outputs):
    """Kill -9 at random moments; at no moment is there a run that looks whole and is not."""
    run = fit("model=linear", "dataset=breast_cancer", "logger=csv")
    rng, address = random.Random(0), f"s3://team/killed/{run.name}"
    verbs = {"push": (f"run={run.name}", "to=s3://team/killed"), "pull": (f"source={address}",)}
    for verb, words in verbs.items():
        before, n_killed = {path.name for path in run.folder.parent.glob("t*")}, 0
        command = [sys.executable, "-m", f"src.{verb}", *words]
        for _ in range(10):
            began = time.monotonic()
            process = subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.DEVNULL)
            while process.poll() is None and time.monotonic() < began + rng.uniform(0.5, 3):
                time.sleep(0.01)
            if process.poll() is None:
                os.kill(process.pid, signal.SIGKILL)
                n_killed += process.wait() == -signal.SIGKILL
            assert_whole(s3, f"killed/{run.name}")
        subprocess.run(command, cwd=CHECKOUT, check=True)
        assert n_killed > 0 and assert_whole(s3, f"killed/{run.name}")
    new = {path.name for path in run.folder.parent.glob("t*")} - before
    for name in new:
        got = load(name)
        assert got.status == "done" and got.report["metrics"] == run.report["metrics"]
    assert new
