"""cluster.yaml is one that Ray's launcher takes: spot workers, no open port, token authentication."""

import copy
import re
from pathlib import Path
from typing import Any

import boto3
import moto
import pytest
import yaml
from ray.autoscaler._private.aws.config import bootstrap_aws
from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
from ray.autoscaler._private.util import prepare_config, validate_config

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "cluster.yaml").read_text()


@pytest.fixture
def cluster() -> dict[str, Any]:
    """The config as `ray up` sees it: the file over Ray's defaults."""
    config = prepare_config(yaml.safe_load(TEXT))
    validate_config(config)
    return config


@pytest.fixture
def nodes(cluster: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {name: node["node_config"] for name, node in cluster["available_node_types"].items()}


def commands(cluster: dict[str, Any]) -> list[str]:
    return [command for key, value in cluster.items() if key.endswith("_commands") for command in value]


def test_ray_refuses_a_misspelt_key(cluster: dict[str, Any]) -> None:
    broken = copy.deepcopy(cluster) | {"idle_timeout_minuts": 5}
    with pytest.raises(Exception, match="idle_timeout_minuts"):
        validate_config(broken)


def test_workers_are_spot_and_the_head_is_not(cluster: dict[str, Any], nodes: dict[str, Any]) -> None:
    assert set(nodes) == {"head", "gpu_worker"}
    assert cluster["head_node_type"] == "head"
    assert "InstanceMarketOptions" not in nodes["head"]
    assert nodes["gpu_worker"]["InstanceMarketOptions"] == {"MarketType": "spot"}


def test_workers_come_when_needed_and_go_when_idle(cluster: dict[str, Any]) -> None:
    worker = cluster["available_node_types"]["gpu_worker"]
    assert worker["min_workers"] == 0
    assert worker["max_workers"] == cluster["max_workers"] == 4
    assert cluster["idle_timeout_minutes"] == 5
    assert cluster["provider"]["cache_stopped_nodes"] is False
    assert cluster["available_node_types"]["head"]["resources"] == {"CPU": 0}


def test_no_port_is_open_to_the_internet(cluster: dict[str, Any], nodes: dict[str, Any]) -> None:
    assert "0.0.0.0" not in TEXT
    # Ray makes a security group for each node type that names none, and opens its port 22 to the world.
    assert all(re.match("sg-", node["SecurityGroupIds"][0]) for node in nodes.values())
    assert "security_group" not in cluster["provider"]
    assert cluster["provider"]["use_internal_ips"] is True
    assert cluster["auth"]["ssh_proxy_use_node_id"] is True
    assert f"--region {cluster['provider']['region']} " in cluster["auth"]["ssh_proxy_command"]
    [start] = [command for command in cluster["head_start_ray_commands"] if "ray start" in command]
    assert "--dashboard-host=127.0.0.1" in start


def test_ray_launches_a_spot_worker_into_the_given_security_group_and_makes_none(
    cluster: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Ray's own launcher against moto's EC2.
    (tmp_path / ".ssh").mkdir()  # where Ray puts the key pair that it makes
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "none")
    with moto.mock_aws():
        ec2 = boto3.client("ec2", region_name=cluster["provider"]["region"])
        [vpc] = ec2.describe_vpcs()["Vpcs"]
        group = ec2.create_security_group(GroupName="ell-tune", Description="nodes", VpcId=vpc["VpcId"])
        groups_before = ec2.describe_security_groups()["SecurityGroups"]
        boto3.client("iam").create_instance_profile(InstanceProfileName="REPLACE-ME-worker")
        for node in cluster["available_node_types"].values():
            node["node_config"]["SecurityGroupIds"] = [group["GroupId"]]

        ready = bootstrap_aws(cluster)
        worker = ready["available_node_types"]["gpu_worker"]["node_config"]
        tags = {"ray-node-kind": "worker", "ray-node-name": "worker", "ray-launch-config": "test"}
        AWSNodeProvider(ready["provider"], ready["cluster_name"]).create_node(worker, tags, 1)

        [reservation] = ec2.describe_instances()["Reservations"]
        [instance] = reservation["Instances"]
        assert (instance["InstanceType"], instance["InstanceLifecycle"]) == ("g6.2xlarge", "spot")
        assert [member["GroupId"] for member in instance["SecurityGroups"]] == [group["GroupId"]]
        assert instance["MetadataOptions"]["HttpTokens"] == "required"
        assert ec2.describe_security_groups()["SecurityGroups"] == groups_before


def test_every_ray_node_starts_with_token_authentication(cluster: dict[str, Any]) -> None:
    starts = [command for command in commands(cluster) if "ray start" in command]
    assert len(starts) == 2
    assert all("RAY_AUTH_MODE=token ray start" in command for command in starts)
    assert set(re.findall(r"RAY_AUTH_MODE=(\w+)", TEXT)) == {"token"}
    assert "RAY_AUTH_TOKEN" not in TEXT  # the token itself is never in the file
    assert cluster["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"


def test_credentials_come_from_instance_profiles_through_imdsv2(nodes: dict[str, Any]) -> None:
    assert {name: node["IamInstanceProfile"] for name, node in nodes.items()} == {
        "head": {"Name": "REPLACE-ME-head"},
        "gpu_worker": {"Name": "REPLACE-ME-worker"},
    }
    assert all(node["MetadataOptions"]["HttpTokens"] == "required" for node in nodes.values())
    assert "aws_secret_access_key" not in TEXT.lower()
    assert "artifacts: s3://" in TEXT


def test_disks_are_encrypted(nodes: dict[str, Any]) -> None:
    for node in nodes.values():
        [disk] = node["BlockDeviceMappings"]
        assert disk["Ebs"]["Encrypted"] is True


def test_nodes_install_ell_tune_from_the_lock(cluster: dict[str, Any]) -> None:
    mounted = {local for local in cluster["file_mounts"].values() if not local.startswith("~")}
    assert {"requirements.lock", "pyproject.toml", "Makefile", "ell_tune", "trainables"} <= mounted
    assert all((ROOT / local).exists() for local in mounted)
    assert "make -C ~/ell-tune setup" in cluster["setup_commands"]
    assert not [command for command in commands(cluster) if "pip install" in command]
