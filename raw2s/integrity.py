"""Damage to artefacts: found by their checksums, reported, and made good by making them again."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from raw2s.errors import StorageError
from raw2s.store import Job, Store


@dataclass(frozen=True)
class Damage:
    """An artefact that is not as it was written, and how."""

    job: Job
    fault: str


def remove_damaged(jobs: Iterable[Job], store: Store, also: Iterable[Job] = ()) -> list[Damage]:
    """Remove what is damaged among a plan's artefacts, so that it is made again; tells what it was.

    Every manifest is looked at; the files of an artefact only if a job that is to be done will read
    them, if no job reads them (the results), or if it is one of `also`.
    """
    plan = {job.fingerprint: job for job in jobs}
    read = {item.fingerprint for job in plan.values() for item in job.inputs.values()}
    wanted = {job.fingerprint for job in also} | (plan.keys() - read)
    found: list[Damage] = []
    there: set[str] = set()
    with ThreadPoolExecutor() as threads:
        for job, (present, fault) in zip(
            plan.values(),
            threads.map(lambda job: _manifest(job, store), plan.values()),
            strict=True,
        ):
            if fault:
                store.drop(job)
                found.append(Damage(job, fault))
            elif present:
                there.add(job.fingerprint)
    checked: set[str] = set()
    while True:
        to_do = [job for name, job in plan.items() if name not in there]
        wanted |= {item.fingerprint for job in to_do for item in job.inputs.values()}
        now = (wanted & there) - checked
        if not now:
            return found
        for name in now:
            checked.add(name)
            if fault := store.fault(plan[name]):
                store.drop(plan[name])
                found.append(Damage(plan[name], fault))
                there.discard(name)


def _manifest(job: Job, store: Store) -> tuple[bool, str]:
    if not store.has(job):
        return False, ""
    try:
        store.manifest(job)
    except StorageError as error:
        return False, str(error).partition(": ")[2]
    return True, ""
