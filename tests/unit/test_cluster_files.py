"""cluster.yaml and cluster.local.yaml: what Ray's launcher reads in them, and asks of EC2."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import boto3
import moto
import pytest
import yaml
from ray.autoscaler._private.aws.config import _get_subnets_or_die
from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
from ray.autoscaler._private.aws.utils import client_cache, resource_cache
from ray.autoscaler._private.util import prepare_config, validate_config

from raw2s import config
from raw2s.checks import check_cluster
from raw2s.errors import ConfigError

ROOT = Path(__file__).parents[2]
FILES = ["cluster.yaml", "cluster.local.yaml"]
REGION = "us-west-2"
DISKS = {"head": 300, "weak": 300, "strong": 1500}
PROFILES = {"head": "raw2s-head", "weak": "raw2s-worker", "strong": "raw2s-worker"}


def given(name: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / name).read_text())


def starts(filled: dict[str, Any]) -> list[str]:
    lines = filled["head_start_ray_commands"] + filled["worker_start_ray_commands"]
    return [line for line in lines if "ray start" in line]


def test_ray_takes_the_local_file() -> None:
    filled = prepare_config(given("cluster.local.yaml"))
    validate_config(filled)
    (kind,) = filled["available_node_types"].values()
    workers = len(filled["provider"]["worker_ips"])
    assert (kind["min_workers"], kind["max_workers"]) == (workers, workers)


@pytest.mark.parametrize("name", FILES)
def test_every_node_has_the_token_and_asks_for_it(name: str) -> None:
    filled = prepare_config(given(name))
    assert filled["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    head, worker = starts(filled)
    assert "RAY_AUTH_MODE=token" in head and "RAY_AUTH_MODE=token" in worker
    assert "--dashboard-host=127.0.0.1" in head.split()
    assert "--autoscaling-config=~/ray_bootstrap_config.yaml" in head.split()


@pytest.mark.parametrize("name", FILES)
def test_the_nodes_have_the_locked_ray_and_no_other(name: str) -> None:
    filled = given(name)
    assert filled["file_mounts"]["~/raw2s/requirements.lock"] == "requirements.lock"
    installs = [line for line in filled["setup_commands"] if "pip install" in line]
    assert [line.partition("install ")[2] for line in installs] == [
        "-r ~/raw2s/requirements.lock",
        "--no-deps --no-build-isolation ~/raw2s",
    ]
    assert f"ray=={version('ray')}" in (ROOT / "requirements.lock").read_text().splitlines()


def test_what_is_copied_to_a_node_can_be_installed(tmp_path: Path) -> None:
    filled, other = map(given, FILES)
    assert filled["file_mounts"] == other["file_mounts"]
    assert filled["setup_commands"][1:] == other["setup_commands"]
    for there, here in filled["file_mounts"].items():
        if there.startswith("~/raw2s/"):
            target = tmp_path / there.removeprefix("~/")
            target.parent.mkdir(exist_ok=True)
            if (ROOT / here).is_dir():
                # Links stay links, as with rsync.
                shutil.copytree(ROOT / here, target, symlinks=True)
            else:
                shutil.copy(ROOT / here, target)
    line = filled["setup_commands"][-2].replace("~/raw2s-env/bin/pip", f"{sys.executable} -m pip")
    words = shlex.split(line.replace("~", str(tmp_path)))
    subprocess.run([*words, "--quiet", "--target", str(tmp_path / "installed")], check=True)
    installed = tmp_path / "installed" / "raw2s"
    assert (installed / "demo.yaml").read_text() == (ROOT / "configs" / "demo.yaml").read_text()
    assert {path.name for path in (ROOT / "raw2s").glob("*.py")} <= {
        path.name for path in installed.iterdir()
    }


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """cluster.yaml as `ray up` completes it in an account with the two profiles, all mocked."""
    caches = (resource_cache, client_cache, _get_subnets_or_die)
    with pytest.MonkeyPatch.context() as patch, moto.mock_aws():
        # Ray writes the key there that it makes.
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        iam = boto3.client("iam")
        for profile in sorted(set(PROFILES.values())):
            iam.create_instance_profile(InstanceProfileName=profile)
        filled = prepare_config(given("cluster.yaml"))
        filled = AWSNodeProvider.fillout_available_node_types_resources(filled)
        validate_config(filled)
        yield AWSNodeProvider.bootstrap_config(filled)
    for cache in caches:
        cache.cache_clear()


def test_the_machines_that_ec2_is_asked_for(aws: dict[str, Any]) -> None:
    provider = AWSNodeProvider(aws["provider"], aws["cluster_name"])
    for name, kind in aws["available_node_types"].items():
        for _ in range(1 if name == "head" else kind["max_workers"]):
            tags = {"ray-node-type": name, "ray-launch-config": name}
            provider.create_node(kind["node_config"], tags, 1)
    ec2 = boto3.client("ec2", REGION)
    found: dict[str, list[dict[str, Any]]] = {}
    for reservation in ec2.describe_instances()["Reservations"]:
        for instance in reservation["Instances"]:
            tags = {tag["Key"]: tag["Value"] for tag in instance["Tags"]}
            assert tags["ray-cluster-name"] == "raw2s"
            found.setdefault(tags["ray-node-type"], []).append(instance)
    assert {
        name: [(one["InstanceType"], one.get("InstanceLifecycle")) for one in instances]
        for name, instances in found.items()
    } == {
        "head": [("m7i.2xlarge", None)],
        "weak": [("g6e.2xlarge", "spot")] * 3,
        "strong": [("p4de.24xlarge", None)],
    }
    image = (
        "resolve:ssm:/aws/service/deeplearning/ami/x86_64/"
        "base-oss-nvidia-driver-gpu-ubuntu-24.04/latest/ami-id"
    )
    for name, instances in found.items():
        for instance in instances:
            assert instance["ImageId"] == image
            assert instance["IamInstanceProfile"]["Arn"].endswith(f"/{PROFILES[name]}")
            assert instance["KeyName"] == f"ray-autoscaler_{REGION}"
            (disk,) = instance["BlockDeviceMappings"]
            (volume,) = ec2.describe_volumes(VolumeIds=[disk["Ebs"]["VolumeId"]])["Volumes"]
            assert (volume["Size"], volume["VolumeType"]) == (DISKS[name], "gp3")
    for name in ("weak", "strong"):
        (disk,) = aws["available_node_types"][name]["node_config"]["BlockDeviceMappings"]
        # What EC2 allows of gp3, in MiB/s: a quarter of the operations a second, 3,000 of them
        # where none are told.
        assert 125 < disk["Ebs"]["Throughput"] <= min(1000, disk["Ebs"].get("Iops", 3000) / 4)
    # `ray down` ends them, disks and all.
    provider.non_terminated_nodes({})
    provider.terminate_nodes([one["InstanceId"] for each in found.values() for one in each])
    states = {
        instance["State"]["Name"]
        for reservation in ec2.describe_instances()["Reservations"]
        for instance in reservation["Instances"]
    }
    assert states == {"terminated"}


def test_nothing_but_ssh_is_open(aws: dict[str, Any]) -> None:
    kinds = aws["available_node_types"].values()
    (group,) = {one for kind in kinds for one in kind["node_config"]["SecurityGroupIds"]}
    rules = boto3.client("ec2", REGION).describe_security_groups(GroupIds=[group])
    for rule in rules["SecurityGroups"][0]["IpPermissions"]:
        open_to = [entry["CidrIp"] for entry in rule["IpRanges"]] + rule["Ipv6Ranges"]
        if open_to:
            assert (rule["IpProtocol"], rule["FromPort"], rule["ToPort"]) == ("tcp", 22, 22)
        else:
            assert [pair["GroupId"] for pair in rule["UserIdGroupPairs"]] == [group]


def test_the_readme_tells_a_run_of_the_workers(
    aws: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readme = (ROOT / "README.md").read_text()
    (block,) = re.findall(r"^```yaml\n(.*?)^```$", readme, re.DOTALL | re.MULTILINE)
    path = tmp_path / "aws.yml"
    path.write_text(block.replace("base: ", f"base: {ROOT}/"))
    run = config.load(path)
    head, *workers = aws["available_node_types"].values()
    assert [kind.model_dump() for kind in run.cluster.autoscaled] == [
        {"cpus": kind["resources"]["CPU"], "gpus": kind["resources"]["GPU"],
         "labels": kind["labels"], "count": kind["max_workers"]}
        for kind in workers
    ]  # fmt: skip
    # Every stage has a place, with nothing up but the head, and not without the workers.
    node = {"NodeID": "head", "Alive": True, "Resources": head["resources"], "Labels": {}}
    monkeypatch.setattr("ray.nodes", lambda: [node])
    check_cluster(run)
    with pytest.raises(ConfigError, match="has room for 0"):
        check_cluster(config.load(path, overrides={"cluster.autoscaled": []}))
