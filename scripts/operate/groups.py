"""The autoscaling groups of the stack, one a role: NAME-web and NAME-vision."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from operate import aws
from operate.errors import AwsError, OperateError

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


def describe(region: str, *names: str) -> list[Group]:
    """Return those of the groups that there are, in the order of `names`.

    Raises:
        OperateError: AWS cannot be asked.
    """
    try:
        with aws.asking(region):
            pages = aws.client("autoscaling", region).get_paginator("describe_auto_scaling_groups")
            found = {
                each["AutoScalingGroupName"]: each
                for page in pages.paginate(AutoScalingGroupNames=list(names))
                for each in page["AutoScalingGroups"]
            }
            addresses = dict(_addresses(region, found))
    except AwsError as error:
        raise OperateError(f"cannot ask for the groups: {error}") from error
    return [_group(found[name], addresses) for name in names if name in found]


def expect(region: str, *names: str) -> list[Group]:
    """Return the groups.

    Raises:
        OperateError: one is not there, or AWS cannot be asked.
    """
    found = describe(region, *names)
    if len(found) < len(names):
        raise OperateError(f"there is no group {' or '.join(names)}; make stack makes them")
    return found


def scale(region: str, group: Group, count: int) -> None:
    """Tell `group` to have `count` machines; it starts and ends them in its own time.

    Raises:
        OperateError: it may not have so many, or AWS refuses.
    """
    if count > group.most:
        raise OperateError(
            f"{group.name} may have {group.most} machines at most; make stack MAX_MACHINES={count} "
            "allows more"
        )
    try:
        with aws.asking(region):
            aws.client("autoscaling", region).set_desired_capacity(
                AutoScalingGroupName=group.name, DesiredCapacity=count
            )
    except AwsError as error:
        raise OperateError(f"{group.name} does not take {count} machines: {error}") from error


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


def _addresses(region: str, groups: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield each instance of the groups with its address.

    They are asked for by the tag that autoscaling gives them: of IDs a filter
    takes 200 (EC2 API Reference, DescribeInstances), and one that has just
    gone would be an error in a list.
    """
    if not groups:  # no filter, and the answer would be all of the account's
        return
    mine = {"Name": "tag:aws:autoscaling:groupName", "Values": sorted(groups)}
    pages = aws.client("ec2", region).get_paginator("describe_instances")
    for page in pages.paginate(Filters=[mine], PaginationConfig={"PageSize": 200}):
        for reservation in page["Reservations"]:
            for instance in reservation["Instances"]:
                yield instance["InstanceId"], instance.get("PrivateIpAddress", "")
