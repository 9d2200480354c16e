"""Whole runs in an S3 bucket: ``<prefix>/t7/<file>`` with their digests; a manifest is written last."""

import hashlib
import json
import re
import shutil
import zipfile
from contextlib import contextmanager

from src.run.folder import Run, find, runs_folder
from src.run.lock import hold
from src.run.trust import digest
from src.share.arrival import MAX_LIST, check_names, checked
from src.share.package import UNITS, n_bytes, stamps, unpack
from src.system.errors import UserError
from src.system.files import hidden, locked

MANIFEST = "manifest.json"
ADDRESS = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])/?(.*)")
TRIES, TIMEOUT = 8, 20  # of a request; seconds without an answer
MISSING = ("404", "NoSuchKey", "NotFound")


def push(name: str, to: str, told=lambda text: None, force: bool = False) -> str:
    """Copy run ``name`` below the address ``to`` and return the run's own address.

    Files that are there already, by their digest, are not sent again: a push that was killed goes on.
    """
    bucket, prefix = _address(to)
    name = find(name).name
    with hold(find(name), "push", force), _store(to) as s3:
        run = Run.open(name)
        if run.status != "done":
            raise UserError(f"{name} is {run.status}: only a run that is done can be pushed")
        place, before = "/".join(filter(None, [prefix, name])), stamps(run.folder)
        check_names([*before, MANIFEST], name)
        digests = {inside: digest(run.folder / inside) for inside in before}
        known = _manifest(s3, bucket, place)
        if known is not None and known != digests:
            raise UserError(f"s3://{bucket}/{place} is another run: push to another prefix")
        for i, (inside, found) in enumerate(digests.items() if known is None else (), start=1):
            key, size = f"{place}/{inside}", before[inside][0]
            if _digest_of(s3, bucket, key) == (found, size):
                continue
            told(f"{i} of {len(digests)}   {inside}   {size / 1e6:.1f} MB")
            s3.upload_file(str(run.folder / inside), bucket, key, ExtraArgs={"Metadata": {"sha256": found}})
        if stamps(run.folder) != before:
            raise UserError(f"{name} was changed while it was pushed: push it again")
        if known is None:
            body = json.dumps({"run": name, "files": digests})
            s3.put_object(Bucket=bucket, Key=f"{place}/{MANIFEST}", Body=body)
    return f"s3://{bucket}/{place}"


def pull(source: str, trust: bool = False, max_size: str = "2GB", told=lambda text: None) -> Run:
    """Fetch the run at an address, check each digest, and put it under the next number.

    Files that an earlier, killed pull fetched are not fetched again.
    """
    bucket, place = _address(source)
    folder = runs_folder() / f".pull-{hashlib.sha256(f'{bucket}/{place}'.encode()).hexdigest()[:16]}.part"
    with _store(source) as s3, locked(runs_folder() / ".pull.lock"):
        digests = _manifest(s3, bucket, place)
        if digests is None:
            raise UserError(f"{source} is no whole run{_there(s3, bucket, place)}")
        names = [*digests, MANIFEST]
        check_names(names, source)  # before a name becomes a path
        sizes = {inside: _digest_of(s3, bucket, f"{place}/{inside}")[1] for inside in digests}
        if sum(sizes.values()) > n_bytes(max_size):
            size = f"{sum(sizes.values()) / UNITS['GB']:.3g} GB"
            raise UserError(f"{source} has {size}, {max_size} are allowed: add max_size=")
        for i, (inside, found) in enumerate(digests.items(), start=1):
            path = folder / inside
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.is_file() or digest(path) != found:
                told(f"{i} of {len(digests)}   {inside}   {sizes[inside] / 1e6:.1f} MB")
                temporary = hidden(path)
                s3.download_file(bucket, f"{place}/{inside}", str(temporary))
                temporary.rename(path)
    packed = folder / "run.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for inside in digests:
            archive.write(folder / inside, inside)
        archive.writestr(MANIFEST, json.dumps({"files": digests}))
    try:
        return unpack(packed, trust, max_size)
    except UserError as error:
        raise UserError(str(error).replace(str(packed), source)) from None
    finally:
        shutil.rmtree(folder)


def _address(text: str) -> tuple[str, str]:
    """Return the bucket and the prefix of s3://bucket/prefix."""
    found = ADDRESS.fullmatch(text)
    if not found:
        raise UserError(f"{text}: should be an address like s3://bucket/prefix")
    return found[1], found[2].strip("/")


@contextmanager
def _store(address: str):
    """Yield a client of S3, set up by the usual variables AWS_...; its errors are one sentence."""
    try:
        import boto3
        from boto3.exceptions import Boto3Error
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError
    except ModuleNotFoundError as error:
        raise UserError(f"{address} needs {error.name}: pip install 'reprise[s3]'") from None
    times = {"connect_timeout": TIMEOUT, "read_timeout": TIMEOUT}
    times |= {"retries": {"max_attempts": TRIES, "mode": "standard"}}
    # other stores than Amazon's refuse the checksums that newer versions of boto3 add
    sums = dict.fromkeys(("request_checksum_calculation", "response_checksum_validation"), "when_required")
    try:
        yield boto3.Session().client("s3", config=Config(**times, **sums))
    except (BotoCoreError, ClientError, Boto3Error) as error:
        advice = "the variables AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, ... say which store and who"
        raise UserError(f"{address}: {str(error).rstrip('.')}; {advice}") from None


def _manifest(s3, bucket: str, place: str) -> dict[str, str] | None:
    """Return {file: digest} of a whole run, None where there is none."""
    found = _asked(s3.get_object, bucket, f"{place}/{MANIFEST}")
    return found and checked(found["Body"].read(MAX_LIST), MANIFEST, f"s3://{bucket}/{place}")["files"]


def _digest_of(s3, bucket: str, key: str) -> tuple[str | None, int]:
    """Return the digest and the size of an object; None and 0 where there is none."""
    head = _asked(s3.head_object, bucket, key) or {"Metadata": {}, "ContentLength": 0}
    return head["Metadata"].get("sha256"), head["ContentLength"]


def _asked(method, bucket: str, key: str) -> dict | None:
    """Return what S3 answers about an object; None where there is none."""
    from botocore.exceptions import ClientError

    try:
        return method(Bucket=bucket, Key=key)
    except ClientError as error:
        if error.response["Error"]["Code"] in MISSING:
            return None
        raise


def _there(s3, bucket: str, place: str) -> str:
    """Return the runs below an address, for a message."""
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{place}/".lstrip("/"))
    keys = (one["Key"] for page in pages for one in page.get("Contents", ()))
    found = sorted(f"s3://{bucket}/{key.rpartition('/')[0]}" for key in keys if key.endswith(f"/{MANIFEST}"))
    return f"; below it there are {', '.join(found[:10])}" if found else ""
