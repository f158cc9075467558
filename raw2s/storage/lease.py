"""A lock in a bucket: an object that its holder renews, and others may take once it is stale."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from raw2s.storage.bucket import Bucket

RENEWED_EVERY = 15.0
"""Seconds."""
STALE_AFTER = 60.0
"""Seconds without a renewal, by the service's clock."""
LOOKED_EVERY = 1.0
"""Seconds between two looks at another's lock."""


@contextlib.contextmanager
def lease(bucket: Bucket, name: str, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the object `name`; waits as long as another holds and renews it, after `waiting()`.

    Putting on a condition decides who has it. Should a holder sleep for longer than a lock may be
    stale, another works beside it: work is done twice then, but artefacts stay whole.
    """
    told = {"host": socket.gethostname(), "pid": os.getpid(), "lease": uuid.uuid4().hex}
    holder = json.dumps(told).encode()
    etag = _acquire(bucket, name, holder, waiting)
    ended = threading.Event()
    held = [etag]

    def renew() -> None:
        count = 0
        while not ended.wait(RENEWED_EVERY):
            count += 1
            # A service that does not answer now may answer the next time.
            with contextlib.suppress(*bucket.failures):
                # Another content, so that each renewal has an ETag of its own.
                renewed = bucket.put(name, holder + b" %d" % count, IfMatch=held[0])
                if renewed is None:
                    held.clear()
                    return
                held[0] = renewed

    thread = threading.Thread(target=renew, name=f"lease {name}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        if held:
            bucket.remove(name)


def _acquire(bucket: Bucket, name: str, holder: bytes, waiting: Callable[[], None]) -> str:
    told = False
    while True:
        etag = bucket.put(name, holder, IfNoneMatch="*")
        if etag is not None:
            return etag
        try:
            age, other = bucket.age(name)
        except FileNotFoundError:
            continue
        if age > STALE_AFTER:
            taken = bucket.put(name, holder + b" taken over", IfMatch=other)
            if taken is not None:
                return taken
        if not told:
            waiting()
            told = True
        time.sleep(LOOKED_EVERY)
