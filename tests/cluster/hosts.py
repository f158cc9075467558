"""Hosts on this machine: network, process, mount and name spaces of their own, an sshd each.

A laptop, and N hosts, on a bridge that stands in the laptop's network namespace, so that nothing is
added to the machine's own network. Each has its own /tmp, /dev/shm, /run and home; all else, such
as the checkout and its virtual environment, they share.
"""

from __future__ import annotations

import contextlib
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
BIN = Path(sys.executable).parent
"""Of the virtual environment, which all hosts use."""
NETWORK = "10.77.0"
_SSHD = """\
HostKey {keys}/host
AuthorizedKeysFile {keys}/login.pub
# The folder of keys belongs to root alone, those above it may not.
StrictModes no
PermitRootLogin prohibit-password
PasswordAuthentication no
UsePAM no
PidFile none
"""


class NoHost(Exception):
    """This machine makes no hosts."""


@dataclass(frozen=True)
class Host:
    """A host: its first process as this machine counts it, its address, its folder."""

    pid: int
    address: str
    folder: Path

    @property
    def name(self) -> str:
        """What it calls itself."""
        return self.folder.name

    @property
    def home(self) -> Path:
        """Its user's home."""
        return self.folder / "home"

    def inside(self, words: Sequence[str]) -> list[str]:
        """The command that runs `words` on the host, in the folder it is called from."""
        return ["nsenter", f"--target={self.pid}", "--all", "--wd=.", *words]

    def environment(self) -> dict[str, str]:
        """Environment of a command there."""
        return {
            "HOME": str(self.home), "LANG": "C.UTF-8",
            "PATH": f"{BIN}:/usr/sbin:/usr/bin:/sbin:/bin",
        }  # fmt: skip

    def processes(self, title: str) -> list[int]:
        """Its processes whose command line holds the text, by its own numbers."""
        words = self.inside(["pgrep", "--full", title])
        done = subprocess.run(words, capture_output=True, text=True, cwd=self.folder)
        return [int(number) for number in done.stdout.split()]

    def kill(self, pids: Sequence[int]) -> None:
        """Send SIGKILL to processes of its own numbers."""
        _run(*self.inside(["kill", "-KILL", *map(str, pids)]))


@dataclass(frozen=True)
class Network:
    """The laptop, the hosts, the ssh key that opens them, and a folder that all of them see."""

    laptop: Host
    hosts: list[Host]
    key: Path
    shared: Path

    def cut(self, host: Host) -> None:
        """Take a host's cable away."""
        _in_network(self.laptop, "ip", "link", "set", f"to-{host.name}", "down")


@contextlib.contextmanager
def network(count: int) -> Iterator[Network]:
    """A laptop and so many hosts; all their processes and folders go when it is left. Raises NoHost
    where none can be made."""
    # Not in /tmp, of which each host has its own.
    folder = Path(tempfile.mkdtemp(prefix="raw2s-hosts-", dir="/var/tmp"))
    started: list[subprocess.Popen[str]] = []
    try:
        keys = folder / "keys"
        keys.mkdir(mode=0o700)
        for name in ("host", "login"):
            _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(keys / name))
        names = ["laptop", *(f"host{n}" for n in range(1, count + 1))]
        hosts = []
        for n, name in enumerate(names):
            _furnish(folder / name, keys)
            started.append(_start(folder / name))
            hosts.append(Host(_first_process(started[-1]), f"{NETWORK}.{n + 1}", folder / name))
        _connect(hosts[0], hosts[1:])
        (folder / "shared").mkdir()
        yield Network(hosts[0], hosts[1:], keys / "login", folder / "shared")
    finally:
        for process in started:
            # A host's first process takes all the others with it, and they the network.
            assert process.stdin is not None
            process.stdin.close()
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _furnish(folder: Path, keys: Path) -> None:
    """Make the files of a host that no other has."""
    home = folder / "home"
    home.mkdir(parents=True)
    (folder / "tmp").mkdir(mode=0o1777)
    (folder / "sshd_config").write_text(_SSHD.format(keys=keys))
    # ssh and sshd read these, and not $HOME; a locked root may not even come with a key.
    root = pwd.getpwuid(0).pw_dir
    passwd = Path("/etc/passwd").read_text()
    (folder / "passwd").write_text(passwd.replace(f":{root}:", f":{home}:", 1))
    (folder / "shadow").write_text("root:*:::::::\n")
    # Ray's commands begin with it.
    (home / ".bashrc").write_text(f"export PATH={BIN}:$PATH\n")


def _start(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            "unshare", "--net", "--pid", "--mount", "--uts", "--ipc", "--fork", "--kill-child",
            "bash", str(HERE / "host.sh"), str(folder),
        ],
        # Not in this session: Ctrl-C is for the script, which then ends its hosts.
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def _first_process(process: subprocess.Popen[str]) -> int:
    """Its number, once it is ready."""
    assert process.stdout is not None
    if process.stdout.readline() != "ready\n":
        raise NoHost("a host does not start; may this machine make namespaces?")
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    return int(children.split()[0])


def _connect(laptop: Host, hosts: Sequence[Host]) -> None:
    """Join the hosts by a bridge on the laptop, which is their way out (and leads nowhere)."""
    _in_network(laptop, "ip", "link", "add", "bridge", "type", "bridge")
    _in_network(laptop, "ip", "address", "add", f"{laptop.address}/24", "dev", "bridge")
    _in_network(laptop, "ip", "link", "set", "bridge", "up")
    for host in hosts:
        port = f"to-{host.name}"
        _in_network(
            laptop, "ip", "link", "add", port, "type", "veth",
            "peer", "name", "eth0", "netns", str(host.pid),
        )  # fmt: skip
        _in_network(laptop, "ip", "link", "set", port, "master", "bridge", "up")
        _in_network(host, "ip", "address", "add", f"{host.address}/24", "dev", "eth0")
        _in_network(host, "ip", "link", "set", "eth0", "up")
        # Ray takes the address that the default route starts from.
        _in_network(host, "ip", "route", "add", "default", "via", laptop.address)


def _in_network(host: Host, *words: str) -> None:
    _run("nsenter", f"--target={host.pid}", "--net", *words)


def _run(*words: str) -> None:
    subprocess.run(words, check=True)
