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
            if present and not fault:
                there.add(job.fingerprint)
            elif fault and (damage := _dropped(job, store)):
                found.append(damage)
    checked: set[str] = set()
    while True:
        to_do = [job for name, job in plan.items() if name not in there]
        wanted |= {item.fingerprint for job in to_do for item in job.inputs.values()}
        now = (wanted & there) - checked
        if not now:
            return found
        for name in now:
            checked.add(name)
            if _fault(plan[name], store) != "":
                there.discard(name)
                if damage := _dropped(plan[name], store):
                    found.append(damage)


def _dropped(job: Job, store: Store) -> Damage | None:
    """Remove an artefact, if it is still damaged when no other run works at it."""
    with store.alone(job):
        fault = _fault(job, store)
        if not fault:
            return None
        store.drop(job)
        return Damage(job, fault)


def _fault(job: Job, store: Store) -> str | None:
    """What is wrong with it, "" if nothing; None where it is not there."""
    try:
        return store.fault(job) if store.has(job) else None
    except FileNotFoundError:
        # Another run has just removed it.
        return None


def _manifest(job: Job, store: Store) -> tuple[bool, str]:
    """Whether it is there, and what is wrong with its manifest."""
    if not store.has(job):
        return False, ""
    try:
        store.manifest(job)
    except FileNotFoundError:
        return False, ""
    except StorageError as error:
        return True, str(error)
    return True, ""
