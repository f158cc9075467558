"""The commands of the README's section on clusters, typed on the laptop."""

from __future__ import annotations

import contextlib
import json
import shlex
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from hosts import Host, Network

ROOT = Path(__file__).resolve().parents[2]
ADDRESS = "http://127.0.0.1:8265"
TOKEN = "(umask 077; ray get-auth-token --generate >/dev/null); chmod 600 ~/.ray/auth_token"
# One CPU each, whatever this machine has.
_SIZE = "--num-cpus=1 --object-store-memory=268435456"
# The hosts start on the cores of one machine, which may be busy.
_PATIENT = "RAY_raylet_start_wait_time_s=300 RAY_DASHBOARD_SUBPROCESS_MODULE_WAIT_READY_TIMEOUT=300"
# A host that is gone is noticed after some ten seconds; with Ray's defaults it takes minutes.
_NOTICED_SOON = (
    "RAY_health_check_initial_delay_ms=0 RAY_health_check_period_ms=1000 "
    "RAY_health_check_timeout_ms=3000 RAY_health_check_failure_threshold=8"
)


class Failed(Exception):
    """What should have happened did not."""


@dataclass(frozen=True)
class Launcher:
    """The laptop, with a filled-in copy of cluster.local.yaml."""

    laptop: Host
    config: Path

    def up(self) -> None:
        """Start Ray on the head, which then starts it on the others, and forward its dashboard,
        which listens on its loopback, to ADDRESS for as long as the laptop is there."""
        self.run("sh", "-c", TOKEN)
        self.run("ray", "up", "--yes", str(self.config))
        self.start("ray", "dashboard", str(self.config))

    def wait_for(self, count: int, *, seconds: float = 600) -> None:
        """Wait until so many nodes have joined."""
        deadline = time.monotonic() + seconds
        found: list[Any] = []
        while len(found) < count:
            if time.monotonic() > deadline:
                raise Failed(f"{len(found)} of {count} nodes after {seconds:g} s")
            time.sleep(1)
            asked = self.start("ray", "list", "nodes", "--address", ADDRESS, "--format", "json")
            told, _ = asked.communicate()
            with contextlib.suppress(ValueError):
                found = [node for node in json.loads(told) if node["state"] == "ALIVE"]

    def submit(self, config: str, storage: str, *, runs: int) -> subprocess.Popen[str]:
        """Begin jobs/full_pipeline.py on the cluster, so many models training at once; ends with
        the job."""
        return self.start(
            "ray", "job", "submit", "--address", ADDRESS, "--working-dir", ".", "--",
            "python", "jobs/full_pipeline.py", config,
            "--set", f"storage={storage}", "--set", f"cluster.train_runs={runs}",
        )  # fmt: skip

    def down(self) -> None:
        """End the cluster."""
        self.run("ray", "down", "--yes", str(self.config))

    def run(self, *words: str) -> str:
        """Do a command on the laptop and return what it prints; raises Failed if it fails."""
        return finish(self.start(*words))

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Begin a command on the laptop, in the checkout's folder."""
        return subprocess.Popen(
            self.laptop.inside(words), cwd=ROOT, text=True,
            env=self.laptop.environment()
            | {"RAY_AUTH_MODE": "token", "RAY_USAGE_STATS_ENABLED": "0"},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip


def launcher(network: Network, *, noticed_soon: bool = False) -> Launcher:
    """Fill in cluster.local.yaml for the network's hosts, the first of which is the head.

    The hosts share the checkout's virtual environment, so nothing is copied but the token, and
    nothing installed. noticed_soon: with health checks that need seconds.
    """
    filled = yaml.safe_load((ROOT / "cluster.local.yaml").read_text())
    head, *workers = (host.address for host in network.hosts)
    filled["provider"] |= {"head_ip": head, "worker_ips": workers}
    filled["auth"] = {"ssh_user": "root", "ssh_private_key": str(network.key)}
    token = "~/.ray/auth_token"
    filled["file_mounts"] = {token: filled["file_mounts"][token]}
    filled["setup_commands"] = []
    start = f"{_PATIENT} {_NOTICED_SOON if noticed_soon else ''} ray start {_SIZE}"
    for key in ("head_start_ray_commands", "worker_start_ray_commands"):
        filled[key] = [line.replace("ray start", start) for line in filled[key]]
    path = network.laptop.home / "cluster.yaml"
    path.write_text(yaml.safe_dump(filled))
    return Launcher(network.laptop, path)


def finish(command: subprocess.Popen[str], *, seconds: float = 3600, fails: bool = False) -> str:
    """Wait for a command and return what it prints; raises Failed if it fails (or, with `fails`,
    if it does not)."""
    assert isinstance(command.args, list)
    words = shlex.join(command.args).partition("--wd=. ")[2]
    try:
        printed, _ = command.communicate(timeout=seconds)
    except subprocess.TimeoutExpired as error:
        raise Failed(f"{words}: still there after {seconds:g} s") from error
    if bool(command.returncode) != fails:
        raise Failed(f"{words}: exit code {command.returncode}\n{printed[-5000:]}")
    return printed
