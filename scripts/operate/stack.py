#!/usr/bin/env python3
"""usage: stack [--render]

Creates the stack of cloud-init/stack.yaml in AWS, or updates it to what the file
and the settings say now: bucket, queue, roles, launch templates, two groups of
machines. Machines that run are left alone. make scale gives the groups machines.

  --render  only print the template that would be used (make stack RENDER=1)

settings (config.mk): NAME, BUCKET, REGION, CHANNEL, SIGNING_KEY
also, on the command line or in config.mk, each kept from the last time where it
is not given; with an empty value, what is [none] becomes so again:
  VPC, SUBNETS    where machines are, the first for good, the second with commas
                  [the region's default VPC, its subnets]
  IMAGE           ami-... or resolve:ssm:/... [this computer's distribution and
                  architecture, the newest image at each launch]
  INSTANCE_TYPE   [t3.small, or t4g.small where this computer is arm64]
  WEB_FROM        CIDR block of the addresses that may reach web [none]
  LOAD_BALANCER   security group of a load balancer that may; makes a target group
                  [none]
  LOG_HOST        HOST:PORT of a syslog server that gets the machines' logs [none]
  MAX_MACHINES    of each group [20]
  KEEP_RELEASES_DAYS  until a replaced release is removed, but for the last ten [90]
exit status: 0 done, or nothing to do, 1 not done, 2 usage
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from operate import groups, publishing, rendering, surroundings
from operate.aws import NOT_FOUND, AwsError, aws, region
from operate.publishing import Channel, ForeignReleaseError, PublishError

POLL_SECONDS = 3


@dataclass(frozen=True)
class Parameter:
    """One parameter of the template."""

    name: str
    default: str | None = None  # None: it depends on where this runs


# By the variable that sets each.
PARAMETERS = {
    "VPC": Parameter("Vpc"),
    "SUBNETS": Parameter("Subnets"),
    "IMAGE": Parameter("Image"),
    "INSTANCE_TYPE": Parameter("InstanceType"),
    "WEB_FROM": Parameter("WebFrom", ""),
    "LOAD_BALANCER": Parameter("LoadBalancer", ""),
    "LOG_HOST": Parameter("LogHost", ""),
    "MAX_MACHINES": Parameter("MaxMachines", "20"),
    "KEEP_RELEASES_DAYS": Parameter("KeepReleasesDays", "90"),
}


def main(words: list[str]) -> int:
    if words == ["--help"]:
        print(__doc__, end="")
        return publishing.EXIT_DONE
    if words not in ([], ["--render"]):
        print(__doc__, end="", file=sys.stderr)
        return publishing.EXIT_USAGE
    try:
        channel = Channel.from_environ(os.environ)
        template = rendering.stack(channel, os.environ)
        if words:
            print(template, end="")
        else:
            make(channel, template, os.environ)
    except (AwsError, PublishError) as error:
        print(f"stack: cannot make the stack: {error}", file=sys.stderr)
        return publishing.EXIT_FAILED
    return publishing.EXIT_DONE


def make(channel: Channel, template: str, environ: Mapping[str, str]) -> None:
    """Create the stack, or update it, and tell each resource that is done.

    Raises:
        AwsError, PublishError: AWS refuses, or the stack was rolled back.
    """
    before = describe(channel.name)
    own = {"Name": channel.name, "Bucket": channel.bucket, "Channel": channel.channel}
    defaults = {each.name: each.default for each in PARAMETERS.values()}
    now: dict[str, str | None]
    refuse_other_key(channel)
    if before:
        refuse_what_would_hurt(before, channel, environ)
        # None: as it is.
        now = {key: None for key in values(before) if key in defaults}
    else:
        refuse_bucket_of_others(channel)
        now = surroundings.parameters(environ)
    parameters = {**own, **defaults, **now, **given(environ)}
    listed = [
        {"ParameterKey": key, "UsePreviousValue": True} if value is None
        else {"ParameterKey": key, "ParameterValue": value}
        for key, value in parameters.items()
    ]  # fmt: skip
    seen = {event["EventId"] for event in events(channel.name)} if before else set()
    with tempfile.NamedTemporaryFile("w", prefix="stack-", suffix=".yaml") as file:
        file.write(template)
        file.flush()
        try:
            aws(
                "cloudformation", "update-stack" if before else "create-stack",
                "--stack-name", channel.name, "--template-body", f"file://{file.name}",
                "--capabilities", "CAPABILITY_IAM", "--parameters", json.dumps(listed),
            )  # fmt: skip
        except AwsError as error:
            if "No updates are to be performed" not in str(error):
                raise
            print(f"stack: {channel.name} is as it should be")
        else:
            follow(channel.name, seen)
    tell(describe(channel.name))


def describe(name: str) -> dict[str, Any]:
    """Return the stack, or an empty dict if there is none."""
    try:
        [found] = aws("cloudformation", "describe-stacks", "--stack-name", name)["Stacks"]
    except AwsError as error:
        if "does not exist" in str(error):
            return {}
        raise
    if found["StackStatus"] in {"ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED"}:
        raise PublishError(
            f"its creation has failed before; remove what is left of it, then try again: "
            f"aws cloudformation delete-stack --region {region()} --stack-name {name}"
        )
    described: dict[str, Any] = found
    return described


def values(stack: Mapping[str, Any]) -> dict[str, str]:
    """Return the parameters that the stack has now."""
    listed = stack.get("Parameters", [])
    return {each["ParameterKey"]: each.get("ParameterValue", "") for each in listed}


def refuse_other_key(channel: Channel) -> None:
    """Refuse a key that has not signed what new machines will find.

    Raises:
        PublishError: they would trust it, and install nothing.
    """
    try:
        publishing.current(channel)
    except ForeignReleaseError as error:
        raise PublishError(
            "new machines would trust SIGNING_KEY alone, which has not signed the release in the "
            "bucket; use the key that has, or write both into packaging/allowed_signers"
        ) from error


def refuse_what_would_hurt(
    before: Mapping[str, Any], channel: Channel, environ: Mapping[str, str]
) -> None:
    """Refuse what would take bucket, network or life from machines that run.

    Raises:
        PublishError: what it was made with cannot be changed, or machines would be ended.
    """
    now = values(before)
    if not {"Bucket", "Channel", "Vpc"} <= set(now):
        raise PublishError(f"there is another stack named {channel.name}; take another NAME")
    wanted = {"BUCKET": channel.bucket, "CHANNEL": channel.channel, "VPC": environ.get("VPC")}
    for variable, value in wanted.items():
        made_with = now[variable.capitalize()]
        if value and value != made_with:
            raise PublishError(
                f"it was made with {variable}={made_with}, on which its machines depend; set that, "
                "or take another NAME and BUCKET for another stack"
            )
    most = environ.get("MAX_MACHINES", "")
    for group in groups.describe(*(f"{channel.name}-{role}" for role in groups.ROLES)):
        if most.isdecimal() and int(most) < group.desired:
            raise PublishError(
                f"{group.name} has {group.desired} machines, of which MAX_MACHINES={most} would "
                "end some; make scale first"
            )


def refuse_bucket_of_others(channel: Channel) -> None:
    """Refuse a bucket that the stack would have to make and that is there.

    Raises:
        PublishError: it is.
    """
    try:
        aws("s3api", "head-bucket", "--bucket", channel.bucket)
    except AwsError as error:
        if error.code in NOT_FOUND:
            return
        raise
    raise PublishError(
        f"the bucket {channel.bucket} is there already, and the stack makes its own; set BUCKET to "
        "a name that is free, or import it into a stack first (CloudFormation, resource import)"
    )


def given(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the parameters that variables set. Empty is a value where it is the default."""
    return {
        each.name: environ[key]
        for key, each in PARAMETERS.items()
        if key in environ and (environ[key] or each.default == "")
    }


def events(name: str) -> list[dict[str, Any]]:
    """Return what has happened to the stack, oldest first."""
    answer = aws("cloudformation", "describe-stack-events", "--stack-name", name)
    return list(reversed(answer["StackEvents"]))


def follow(name: str, seen: set[str]) -> None:
    """Tell each resource that is done, until the stack is.

    Raises:
        PublishError: it was rolled back; the message has the first reason.
    """
    began = time.monotonic()
    reason = ""
    while True:
        for event in events(name):
            if event["EventId"] in seen:
                continue
            seen.add(event["EventId"])
            status, resource = event["ResourceStatus"], event["LogicalResourceId"]
            if status.endswith("_FAILED") and not reason:
                reason = f"{resource}: {event.get('ResourceStatusReason', status)}"
            if not status.endswith("_IN_PROGRESS"):
                print(f"  {time.monotonic() - began:4.0f} s  {status.lower()}  {resource}")
        [now] = aws("cloudformation", "describe-stacks", "--stack-name", name)["Stacks"]
        if not now["StackStatus"].endswith("_IN_PROGRESS"):
            break
        time.sleep(POLL_SECONDS)
    if now["StackStatus"] not in {"CREATE_COMPLETE", "UPDATE_COMPLETE"}:
        raise PublishError(f"{now['StackStatus'].lower()}: {reason or 'AWS does not say why'}")


def tell(stack: Mapping[str, Any]) -> None:
    for output in stack.get("Outputs", []):
        print(f"stack: {output['OutputKey']} is {output['OutputValue']}")
        print(f"         {output['Description']}")
    now = values(stack)
    if not now["WebFrom"] and not now["LoadBalancer"]:
        print("stack: nothing may reach web yet: WEB_FROM=CIDR or LOAD_BALANCER=sg-... lets it")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
