"""Reads the offline file of W&B, which has no reader of its own in Python."""

import struct
from pathlib import Path

BLOCK = 32768  # bytes; no record's head is split between two blocks


def records(folder: str | Path) -> dict[str, list]:
    """All records of a run's folder by kind: ``records(folder)["history"]``, in their order.

    The file is a LevelDB log after 7 bytes of its own: checksum (4 bytes), length (2), kind (1: whole, 2 to 4: first,
    middle and last piece), content.
    """
    from wandb.proto.wandb_internal_pb2 import Record

    (path,) = Path(folder).glob("*.wandb")
    raw, at, content, found = path.read_bytes(), 7, b"", {}
    while at + 7 <= len(raw):
        if BLOCK - at % BLOCK < 7:
            at += BLOCK - at % BLOCK
        length, kind = struct.unpack_from("<HB", raw, at + 4)
        content, at = content + raw[at + 7 : at + 7 + length], at + 7 + length
        if kind in (1, 4):
            record, content = Record.FromString(content), b""
            name = record.WhichOneof("record_type")
            found.setdefault(name, []).append(getattr(record, name))
    return found
