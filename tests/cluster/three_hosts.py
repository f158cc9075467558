"""A run on a cluster of several hosts, all of them on this machine: `make test-cluster`.

    python tests/cluster/three_hosts.py [CONFIG] [--hosts N] [--faults]

Does a run on one machine; then makes two hosts, three and so on up to N (see `hosts.py`), types
what the README says about clusters, and checks that weak models were hosted on several of them,
that the results are those of the one machine, row by row, and that a storage which only one host
sees is refused at once. With --faults also that a run survives the loss of hosts: of one's raylet
while it labels and of another's cable while it scores; of one's cable while it trains a student.

Needs root, and Debian's iproute2, openssh-server, openssh-client, rsync, procps and util-linux.
Exit code 1 for a check that fails, 2 where the machine lacks something.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from hosts import Host, Network, NoHost, network
from launcher import ROOT, Failed, Launcher, finish, launcher

PACKAGES = {
    "ip": "iproute2", "/usr/sbin/sshd": "openssh-server", "ssh": "openssh-client",
    "rsync": "rsync", "pgrep": "procps", "unshare": "util-linux",
}  # fmt: skip
RAYLET = "/raylet/raylet "
"""What the command line of Ray's process on each node holds."""


@dataclass(frozen=True)
class Fault:
    """What happens to a host: once the storage has such a file, and such a process is at work
    there."""

    title: str
    file: str
    process: str
    happen: Callable[[Network, Host], None]


ANSWERS, TRAINS = "ray::ModelHost.answer", "ray::RayTrainWorker"
FAULTS = [
    [
        Fault(
            "a host's raylet is killed while it labels",
            "artefacts/finetune/*/manifest.json",
            ANSWERS,
            lambda _, host: host.kill(host.processes(RAYLET)),
        ),
        Fault(
            "another's cable is cut while it scores",
            "artefacts/candidates/*/manifest.json",
            ANSWERS,
            Network.cut,
        ),
    ],
    [
        Fault(
            "a host's cable is cut while it trains a student",
            "work/student-*/**/*tfevents*",
            TRAINS,
            Network.cut,
        )
    ],
]
"""Those of one run together."""


def main() -> int:
    """Do the runs; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("config", nargs="?", default="configs/demo.yaml")
    parser.add_argument("--hosts", type=int, default=3, help="how many at most, the head too")
    parser.add_argument("--faults", action="store_true", help="also lose hosts, in two more runs")
    asked = parser.parse_args()
    if asked.hosts < 2:
        parser.error("--hosts: a cluster has two or more")
    if lack := _lack():
        print(f"three_hosts: {lack}", file=sys.stderr)
        return 2
    # So that what is in `finally` is done, as after Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    started = time.monotonic()
    try:
        expected = alone(asked.config)
        for count in range(2, asked.hosts + 1):
            together(asked.config, count, expected)
        for faults in FAULTS if asked.faults else []:
            disturbed(asked.config, asked.hosts, faults, expected)
    except (Failed, NoHost) as error:
        print(f"\nthree_hosts: {error}", file=sys.stderr)
        return 1 if isinstance(error, Failed) else 2
    except KeyboardInterrupt:
        return 130
    print(f"all checks passed, {time.monotonic() - started:.0f} s")
    return 0


def alone(config: str) -> pd.DataFrame:
    """The results of a run on one machine."""
    with network(1) as hosts, step("the run on one machine"):
        storage = hosts.shared
        launcher(hosts).run(
            "python", "jobs/full_pipeline.py", config, "--set", f"storage={storage}"
        )
        return results(storage)


def together(config: str, count: int, expected: pd.DataFrame) -> None:
    """The run on a cluster of so many hosts."""
    with network(count) as hosts:
        cluster = launcher(hosts)
        up(cluster, count)
        check_token(hosts.hosts)
        with step("ray job submit"):
            finish(cluster.submit(config, str(hosts.shared), runs=count))
        check_same(hosts.shared, expected)
        check_hosted(hosts.shared)
        with step("a storage that one host sees is refused"):
            said = finish(cluster.submit(config, "/tmp/here", runs=count), fails=True)
            if "raw2s: " not in said or "does not see the storage /tmp/here" not in said:
                raise Failed(f"it said: {said[-2000:]}")
        with step("ray down, until no host runs Ray"):
            cluster.down()
            check_gone(hosts.hosts)


def disturbed(config: str, count: int, faults: Sequence[Fault], expected: pd.DataFrame) -> None:
    """The run on a cluster that loses hosts."""
    with network(count) as hosts:
        cluster = launcher(hosts, noticed_soon=True)
        up(cluster, count)
        job = cluster.submit(config, str(hosts.shared), runs=count)
        left = hosts.hosts[1:]
        for fault in faults:
            with step(fault.title):
                host = _at_work(left, hosts.shared, fault, job)
                fault.happen(hosts, host)
                left.remove(host)
        with step("the run goes on without"):
            finish(job)
        check_same(hosts.shared, expected)


def up(cluster: Launcher, count: int) -> None:
    """Bring the cluster up, with all of its nodes."""
    with step(f"ray up, {count} hosts"):
        cluster.up()
        cluster.wait_for(count)


@contextlib.contextmanager
def step(title: str) -> Iterator[None]:
    """Print what is done, and the seconds that it took."""
    print(f"{title} … ", end="", flush=True)
    started = time.monotonic()
    yield
    print(f"{time.monotonic() - started:.0f} s", flush=True)


def results(storage: Path) -> pd.DataFrame:
    """One row per model, seed and item."""
    (path,) = storage.glob("runs/*/results.parquet")
    return pd.read_parquet(path)


def check_same(storage: Path, expected: pd.DataFrame) -> None:
    """Raise Failed unless the storage's results are these, bit by bit."""
    try:
        pd.testing.assert_frame_equal(results(storage), expected, check_exact=True)
    except AssertionError as error:
        raise Failed(f"the results are not those of one machine: {error}") from None
    print(f"{len(expected)} rows of results as on one machine")


def check_hosted(storage: Path) -> None:
    """Raise Failed unless actors on at least two hosts have labelled."""
    found = {
        actor["host"]
        for path in storage.glob("artefacts/label/*/manifest.json")
        for actor in json.loads(path.read_text())["notes"]["actors"]
    }
    if len(found) < 2:
        raise Failed(f"weak models were hosted on {sorted(found)} only")
    print(f"weak models were hosted on {', '.join(sorted(found))}")


def check_token(hosts: Sequence[Host]) -> None:
    """Raise Failed unless every host has the token, for its owner alone."""
    for host in hosts:
        mode = (host.home / ".ray" / "auth_token").stat().st_mode & 0o777
        if mode != 0o600:
            raise Failed(f"the token on {host.name} has the mode {mode:o}")


def check_gone(hosts: Sequence[Host]) -> None:
    """Raise Failed unless Ray ends on the head, and on the others for want of a head."""
    deadline = time.monotonic() + 300
    while running := [host.name for host in hosts if host.processes(RAYLET)]:
        if time.monotonic() > deadline:
            raise Failed(f"Ray still runs on {', '.join(running)}")
        time.sleep(1)


def _at_work(
    hosts: Sequence[Host], storage: Path, fault: Fault, job: subprocess.Popen[str]
) -> Host:
    """The first host to which the fault may happen now."""
    while job.poll() is None:
        for host in hosts:
            if any(storage.glob(fault.file)) and host.processes(fault.process):
                return host
        time.sleep(0.2)
    raise Failed(
        f"no host had a process {fault.process} before the job ended:\n{finish(job)[-2000:]}"
    )


def _lack() -> str:
    """What the machine lacks; "" if nothing."""
    if os.geteuid() != 0:
        return "needs root, to make network and process namespaces"
    packages = sorted({PACKAGES[name] for name in PACKAGES if shutil.which(name) is None})
    if packages:
        return f"needs {' and '.join(packages)}: apt-get install {' '.join(packages)}"
    if ROOT.is_relative_to("/tmp"):
        return "needs a checkout outside /tmp, of which each host has its own"
    return ""


if __name__ == "__main__":
    sys.exit(main())
