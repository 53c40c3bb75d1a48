"""The autoscaling groups of the stack, one a role: NAME-web and NAME-vision."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from operate.aws import AwsError, aws
from operate.publishing import PublishError

ROLES = ("web", "vision")


@dataclass(frozen=True)
class Instance:
    """One machine of a group, as EC2 knows it."""

    id: str
    state: str  # of its life in the group: Pending, InService, Terminating, ...
    health: str  # as the group sees it: HEALTHY or UNHEALTHY
    address: str  # inside the network, "" before it has one


@dataclass(frozen=True)
class Group:
    """One autoscaling group."""

    name: str
    desired: int
    most: int
    instances: tuple[Instance, ...]


def describe(*names: str) -> list[Group]:
    """Return those of the groups that there are, in the order of `names`.

    Raises:
        PublishError: AWS cannot be asked.
    """
    try:
        answer = aws(
            "autoscaling", "describe-auto-scaling-groups", "--auto-scaling-group-names", *names
        )
        found = {each["AutoScalingGroupName"]: each for each in answer["AutoScalingGroups"]}
        addresses = _addresses([
            instance["InstanceId"] for each in found.values() for instance in each["Instances"]
        ])  # fmt: skip
    except AwsError as error:
        raise PublishError(f"cannot ask for the groups: {error}") from error
    return [_group(found[name], addresses) for name in names if name in found]


def _group(answer: Mapping[str, Any], addresses: Mapping[str, str]) -> Group:
    return Group(
        answer["AutoScalingGroupName"],
        answer["DesiredCapacity"],
        answer["MaxSize"],
        tuple(
            Instance(
                each["InstanceId"],
                each["LifecycleState"],
                each["HealthStatus"].upper(),
                addresses.get(each["InstanceId"], ""),
            )
            for each in answer["Instances"]
        ),
    )


def _addresses(instances: list[str]) -> dict[str, str]:
    if not instances:  # the command would list all of the account's
        return {}
    # A filter, where an ID that has just gone would be an error in a list.
    ids = f"Name=instance-id,Values={','.join(instances)}"
    answer = aws("ec2", "describe-instances", "--filters", ids)
    return {
        instance["InstanceId"]: instance.get("PrivateIpAddress", "")
        for reservation in answer["Reservations"]
        for instance in reservation["Instances"]
    }


def scale(group: Group, count: int) -> None:
    """Tell `group` to have `count` machines; it starts and ends them in its own time.

    Raises:
        PublishError: it may not have so many, or AWS refuses.
    """
    if count > group.most:
        raise PublishError(
            f"{group.name} may have {group.most} machines at most; make stack MAX_MACHINES={count} "
            "allows more"
        )
    try:
        aws(
            "autoscaling", "set-desired-capacity", "--auto-scaling-group-name", group.name,
            "--desired-capacity", str(count),
        )  # fmt: skip
    except AwsError as error:
        raise PublishError(f"{group.name} does not take {count} machines: {error}") from error
