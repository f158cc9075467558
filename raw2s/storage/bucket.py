"""A storage that is a bucket of S3, or of a service that speaks its protocol.

Each machine has a cache of its own, where artefacts are brought when something there reads them,
as long as its disk has room for them, and where work is done. Artefacts: the files go to a fresh
folder, then the manifest is put on the condition that there is none; it names the folder, so of two
writers one is whole and the other is nothing. Unfinished training: an index, put last, names the
files of one consistent state. Kept answers: an object each.

Credentials, region and endpoint are boto3's own (AWS_PROFILE, AWS_ENDPOINT_URL and so on).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from raw2s.errors import ConfigError, StorageError
from raw2s.storage.cache import Cache
from raw2s.storage.checksums import fault_in
from raw2s.storage.folder import MANIFEST
from raw2s.storage.lease import lease

if TYPE_CHECKING:
    from raw2s.storage import Gather

PART, STATE = "part", "state"
"""The manifest's metadata: the folder of its files, and a digest of their ETags."""
INDEX = "index.json"
_TRANSFERS = 8
_DELETED_AT_ONCE = 1000
_CONFLICT_SECONDS = 0.5


class _Object(NamedTuple):
    name: str
    size: int
    etag: str


class Bucket:
    """What every machine reaches at `s3://bucket/prefix`; see `raw2s.storage.Storage`."""

    def __init__(self, url: str) -> None:
        try:
            import boto3
            from botocore.exceptions import BotoCoreError, ClientError
        except ImportError as error:
            raise ConfigError(f"storage {url} needs boto3: pip install 'raw2s[s3]'") from error
        self._bucket, _, prefix = url.removeprefix("s3://").partition("/")
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._url = url
        self._s3: Any = boto3.client("s3")
        self._refused = ClientError
        self.failures: tuple[type[Exception], ...] = (BotoCoreError, ClientError)
        cache = Path(os.environ.get("RAW2S_CACHE") or "~/.cache/raw2s").expanduser()
        self.local = cache / hashlib.sha256(url.encode()).hexdigest()[:16]
        # One that is there stays, but for damage.
        self._there: set[str] = set()
        # Whose files here are what was written: looked at once by each process.
        self._checked: set[str] = set()
        # What is brought here or made here lies as it would in a storage of its own.
        self._cache = Cache(self.local)

    def check(self) -> None:
        """Raise StorageError unless the bucket is there and lets one in."""
        try:
            self._s3.head_bucket(Bucket=self._bucket)
        except self.failures as error:
            missing = isinstance(error, self._refused) and _status(error) == 404
            why = f"there is no bucket {self._bucket}" if missing else str(error)
            raise StorageError(f"storage {self._url} cannot be opened: {why}") from error

    def read(self, name: str) -> bytes:
        """A small object's content; raises FileNotFoundError."""
        return self._get(name)[0]

    def create(self, name: str, content: bytes) -> bool:
        """Put a small object if none of that name is there; whether it was put."""
        return self.put(name, content, IfNoneMatch="*") is not None

    def names(self, place: str) -> list[str]:
        """The names of the small objects at this place."""
        return [name.removeprefix(f"{place}/") for name, *_ in self._list(f"{place}/")]

    def remove(self, name: str) -> None:
        """Remove a small object if it is there."""
        self._s3.delete_object(Bucket=self._bucket, Key=self._key(name))

    def put(self, name: str, content: bytes, **condition: Any) -> str | None:
        """Put an object; its ETag, or None where the condition is not fulfilled.

        Content that nobody else puts: a put whose answer is lost is sent again by the client, and
        then fails by what it has put itself.
        """
        try:
            done = self._s3.put_object(
                Bucket=self._bucket, Key=self._key(name), Body=content, **condition
            )
        except self._refused as error:
            if _status(error) == 409:
                # Of two at the same moment neither is refused for good.
                time.sleep(_CONFLICT_SECONDS)
                return self.put(name, content, **condition)
            gone = error.response["Error"].get("Code") == "NoSuchBucket"
            if gone or _status(error) not in (404, 412):
                raise
            return self._etag_of(name, content)
        return str(done["ETag"])

    def _etag_of(self, name: str, content: bytes) -> str | None:
        """The object's ETag if this is its content."""
        try:
            found = self._s3.get_object(Bucket=self._bucket, Key=self._key(name))
        except self._refused as error:
            if _status(error) == 404:
                return None
            raise
        return str(found["ETag"]) if found["Body"].read() == content else None

    def age(self, name: str) -> tuple[float, str]:
        """Seconds since an object was put, by the service's clock, and its ETag; raises
        FileNotFoundError."""
        head = self._head(name)
        if head is None:
            raise FileNotFoundError(name)
        now = parsedate_to_datetime(head["ResponseMetadata"]["HTTPHeaders"]["date"])
        return (now - head["LastModified"]).total_seconds(), str(head["ETag"])

    def has(self, place: str) -> bool:
        """Whether an artefact is there: its manifest is put last."""
        if place not in self._there and self._head(f"{place}/{MANIFEST}") is not None:
            self._there.add(place)
        return place in self._there

    def fetch(self, place: str, files: Mapping[str, Mapping[str, Any]]) -> Path:
        """Bring an artefact to this machine's cache, once.

        Raises StorageError where a file does not arrive as it was written.
        """
        manifest, part, _ = self._manifest(place)
        if place not in self._checked:
            self._check_here(place, manifest, files)
        if not self._cache.use(place, manifest):
            if fault := self._bring(place, manifest, part, files):
                self.drop(place)
                raise StorageError(
                    f"{self._url}/{place}: {fault}; it was removed, run again to make it again"
                )
            self._checked.add(place)
        return self.local / place

    def fault(self, place: str, files: Mapping[str, Mapping[str, Any]]) -> str:
        """What is wrong with the artefact's objects; where the files that are here are not what was
        written, they are removed.

        Objects that are not those that were put are brought here, for their checksums to tell.
        """
        manifest, part, state = self._manifest(place)
        objects = list(self._list(f"{place}/{part}/"))
        sizes = {name: size for name, size, _ in objects}
        for name, told in files.items():
            size = sizes.get(f"{place}/{part}/{name}")
            if size is None:
                return f"{name} is missing"
            if size != told["bytes"]:
                return f"{name} has {size:,} bytes of {told['bytes']:,}"
        self._check_here(place, manifest, files)
        return "" if state == _state(objects) else self._bring(place, manifest, part, files)

    def _check_here(
        self, place: str, manifest: bytes, files: Mapping[str, Mapping[str, Any]]
    ) -> None:
        if self._cache.holds(place, manifest):
            if fault_in(self.local / place, files):
                # It is brought again from the bucket.
                self._cache.drop(place)
            else:
                self._checked.add(place)

    def _bring(
        self, place: str, manifest: bytes, part: str, files: Mapping[str, Mapping[str, Any]]
    ) -> str:
        """Bring an artefact's files to the cache, unless they are not what was written: what is
        wrong with them."""
        self._cache.make_room(sum(told["bytes"] for told in files.values()))
        aside = self.local / "work" / f"fetched-{uuid.uuid4().hex[:8]}"
        try:
            self._download(aside, {name: f"{place}/{part}/{name}" for name in files})
            if fault := fault_in(aside, files):
                return fault
            (aside / MANIFEST).write_bytes(manifest)
            self._cache.drop(place)
            self._cache.publish(aside, place)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        return ""

    def publish(self, folder: Path, place: str) -> None:
        """Put the files, then the manifest; of two writers the first stays."""
        part = uuid.uuid4().hex[:8]
        manifest = (folder / MANIFEST).read_bytes()
        files = {
            path.relative_to(folder).as_posix(): path
            for path in sorted(folder.rglob("*"))
            if path.is_file() and path != folder / MANIFEST
        }
        self._upload({f"{place}/{part}/{name}": path for name, path in files.items()})
        state = _state(self._list(f"{place}/{part}/"))
        put = self.put(
            f"{place}/{MANIFEST}", manifest, IfNoneMatch="*", Metadata={PART: part, STATE: state}
        )
        if put is None:
            self._delete(key for key, *_ in self._list(f"{place}/{part}/"))
        else:
            self._cache.drop(place)
            self._cache.publish(folder, place)
            self._cache.make_room()

    def drop(self, place: str) -> None:
        """Remove an artefact, its manifest first."""
        self._there.discard(place)
        self._checked.discard(place)
        self.remove(f"{place}/{MANIFEST}")
        self._delete(key for key, *_ in self._list(f"{place}/"))
        self._cache.drop(place)

    def alone(
        self, name: str, done: Callable[[], bool], waiting: Callable[[], None]
    ) -> AbstractContextManager[None]:
        """Hold a lease on the object `name`, renewed as long as the process lives."""
        return lease(self, name, waiting)

    def keep(self, place: str, gather: Gather, first: bool = True) -> None:
        """Put what has changed of a local folder, then an index of all machines' files."""
        known, mine = self._index(place), _versions(self.local / place) if first else {}
        changed = {n: told for n, told in mine.items() if known.get(n, {}).get("at") != told["at"]}
        for name, told in mine.items():
            told["key"] = known[name]["key"] if name not in changed else self._fresh(place, name)
        self._upload({told["key"]: self.local / place / name for name, told in changed.items()})
        if ranks := gather(mine):
            # What the first rank has counts: another machine may hold an older version.
            index = {name: told for rank in reversed(ranks) for name, told in rank.items()}
            self.put(f"{place}/{INDEX}", json.dumps(index).encode())
            named = {told["key"] for told in index.values()} | {f"{place}/{INDEX}"}
            self._delete(key for key, *_ in self._list(f"{place}/") if key not in named)

    def recall(self, place: str) -> None:
        """Make a local folder what its index says; without an index nothing of it stays."""
        folder = self.local / place
        index, here = self._index(place), _versions(folder)
        for name in here.keys() - index.keys():
            (folder / name).unlink()
        missing = {n: told for n, told in index.items() if here.get(n, {}).get("at") != told["at"]}
        self._download(folder, {name: told["key"] for name, told in missing.items()})
        for name, told in missing.items():
            os.utime(folder / name, ns=(told["at"][1], told["at"][1]))

    def forget(self, place: str) -> None:
        """Remove a folder of unfinished work, its index first."""
        self.remove(f"{place}/{INDEX}")
        self._delete(key for key, *_ in self._list(f"{place}/"))
        self._cache.forget(place)

    def ray(self, name: str) -> str:
        """A prefix in it."""
        return f"{self._url.rstrip('/')}/work/{name}"

    def _key(self, name: str) -> str:
        return self._prefix + name

    def _fresh(self, place: str, name: str) -> str:
        # A new name for each version: the last index stays true until there is a new one.
        return f"{place}/{uuid.uuid4().hex[:8]}/{name}"

    def _manifest(self, place: str) -> tuple[bytes, str, str]:
        """An artefact's manifest, the folder of its files and their state."""
        manifest, metadata = self._get(f"{place}/{MANIFEST}")
        if PART not in metadata:
            raise StorageError(f"{self._url}/{place}: the manifest is not what was written")
        return manifest, metadata[PART], metadata.get(STATE, "")

    def _index(self, place: str) -> dict[str, dict[str, Any]]:
        """The files that were kept; raises StorageError where it is not as `keep` writes it."""
        try:
            found: dict[str, dict[str, Any]] = json.loads(self.read(f"{place}/{INDEX}"))
            for name, told in found.items():
                if not _is_below(self.local / place, name):
                    raise ValueError(f"a file would be written outside: {name!r}")
                _check_version(name, told, f"{place}/")
        except FileNotFoundError:
            return {}
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise StorageError(
                f"{self._url}/{place}/{INDEX} is not what was written ({error}); remove it to "
                "begin that work anew"
            ) from error
        return found

    def _get(self, name: str) -> tuple[bytes, dict[str, str]]:
        try:
            found = self._s3.get_object(Bucket=self._bucket, Key=self._key(name))
        except self._refused as error:
            if _status(error) == 404:
                raise FileNotFoundError(f"{self._url}/{name}") from error
            raise
        return found["Body"].read(), found["Metadata"]

    def _head(self, name: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = self._s3.head_object(Bucket=self._bucket, Key=self._key(name))
        except self._refused as error:
            if _status(error) == 404:
                return None
            raise
        return found

    def _list(self, start: str) -> Iterator[_Object]:
        """The objects whose names, below the prefix, start so."""
        pages = self._s3.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=self._key(start)
        )
        for page in pages:
            for found in page.get("Contents", []):
                name = found["Key"].removeprefix(self._prefix)
                yield _Object(name, found["Size"], found["ETag"])

    def _delete(self, names: Iterable[str]) -> None:
        objects = [{"Key": self._key(name)} for name in names]
        for first in range(0, len(objects), _DELETED_AT_ONCE):
            some = objects[first : first + _DELETED_AT_ONCE]
            self._s3.delete_objects(Bucket=self._bucket, Delete={"Objects": some})

    def _upload(self, files: Mapping[str, Path]) -> None:
        def one(name: str) -> None:
            self._s3.upload_file(str(files[name]), self._bucket, self._key(name))

        with ThreadPoolExecutor(_TRANSFERS) as threads:
            list(threads.map(one, files))

    def _download(self, folder: Path, keys: Mapping[str, str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)

        def one(name: str) -> None:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            self._s3.download_file(self._bucket, self._key(keys[name]), str(folder / name))

        for name in keys:
            if not _is_below(folder, name):
                raise StorageError(f"{self._url}: a file would be written outside: {name}")
        with ThreadPoolExecutor(_TRANSFERS) as threads:
            list(threads.map(one, keys))


def _state(objects: Iterable[_Object]) -> str:
    """What changes when one of them is put again with another content."""
    text = json.dumps(sorted((one.name, one.etag) for one in objects))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _versions(folder: Path) -> dict[str, dict[str, Any]]:
    """The files below a folder by name, each with its size and time of change, "at"."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            stat = path.stat()
            found[path.relative_to(folder).as_posix()] = {"at": [stat.st_size, stat.st_mtime_ns]}
    return found


def _is_below(folder: Path, name: str) -> bool:
    """Whether a name in a folder leads to something below it; ValueError for no name of a file."""
    straight = ".." not in Path(name).parts
    return straight and folder.resolve() in (folder / name).resolve().parents


def _check_version(name: str, told: dict[str, Any], start: str) -> None:
    """Raise an error unless it is told {"at": [bytes, nanoseconds], "key": an object's name that
    starts so}."""
    size, changed = told["at"]
    if type(size) is not int or type(changed) is not int or not 0 <= changed < 2**63:
        raise ValueError(f"{name} has no size and time")
    if not told["key"].startswith(start):
        raise ValueError(f"{name} lies at {told['key']}")


def _status(error: Any) -> int:
    return int(error.response["ResponseMetadata"]["HTTPStatusCode"])
