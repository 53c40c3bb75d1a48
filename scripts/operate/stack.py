"""The stack of cloud-init/stack.yaml in AWS: made, or brought to what file and settings say now.

Machines that run are left alone. What cannot be changed without ending them is
refused.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

from operate import aws, groups, publish, settings, surroundings
from operate.channel import Channel
from operate.errors import AwsError, ForeignReleaseError, OperateError

POLL_SECONDS = 3

PARAMETERS = [each for each in settings.SETTINGS if each.parameter]

Say = Callable[[str], object]


class Stack:
    """One stack, by the name of its service."""

    def __init__(self, channel: Channel, say: Say) -> None:
        self._channel = channel
        self._name = channel.name
        self._say = say
        self._cloudformation = aws.client("cloudformation", channel.region)

    def make(self, template: str, environ: Mapping[str, str]) -> None:
        """Create the stack, or update it, and tell each resource that is done.

        Raises:
            OperateError: AWS refuses, or the stack was rolled back.
        """
        with aws.asking(self._channel.region):
            before = self._describe()
            self._refuse_other_key()
            now: dict[str, str | None]
            if before:
                self._refuse_what_would_hurt(before, environ)
                # None: as it is.
                now = {key: None for key in values(before) if key in _NAMES}
            else:
                self._refuse_bucket_of_others()
                now = surroundings.parameters(self._channel.region, environ)
            self._apply(template, before, {**self._own(), **_DEFAULTS, **now, **given(environ)})
            self._tell()

    def _own(self) -> dict[str, str | None]:
        channel = self._channel
        return {"Name": channel.name, "Bucket": channel.bucket_name, "Channel": channel.channel}

    def _describe(self) -> dict[str, Any]:
        """Return the stack, or an empty dict if there is none."""
        try:
            with aws.asking(self._channel.region):
                [found] = self._cloudformation.describe_stacks(StackName=self._name)["Stacks"]
        except AwsError as error:
            if "does not exist" in error.said:
                return {}
            raise
        if found["StackStatus"] in {"ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED"}:
            raise OperateError(
                "its creation has failed before; remove what is left of it, then try again: "
                f"aws cloudformation delete-stack --region {self._channel.region} --stack-name "
                f"{self._name}"
            )
        described: dict[str, Any] = found
        return described

    def _refuse_other_key(self) -> None:
        """Refuse a key that has not signed what new machines find: they would install nothing."""
        try:
            publish.current(self._channel)
        except ForeignReleaseError as error:
            raise OperateError(
                "new machines would trust SIGNING_KEY alone, which has not signed the release in "
                "the bucket; use the key that has, or write both into packaging/allowed_signers"
            ) from error

    def _refuse_what_would_hurt(
        self, before: Mapping[str, Any], environ: Mapping[str, str]
    ) -> None:
        """Refuse what would take bucket, network or life from machines that run."""
        now = values(before)
        if not {"Bucket", "Channel", "Vpc"} <= set(now):
            raise OperateError(f"there is another stack named {self._name}; take another NAME")
        wanted = {
            "BUCKET": self._channel.bucket_name,
            "CHANNEL": self._channel.channel,
            "VPC": environ.get("VPC"),
        }
        for variable, value in wanted.items():
            made_with = now[variable.capitalize()]
            if value and value != made_with:
                raise OperateError(
                    f"it was made with {variable}={made_with}, on which its machines depend; set "
                    "that, or take another NAME and BUCKET for another stack"
                )
        most = environ.get("MAX_MACHINES", "")
        names = [f"{self._name}-{role}" for role in groups.ROLES]
        for group in groups.describe(self._channel.region, *names):
            if most and int(most) < group.desired:
                raise OperateError(
                    f"{group.name} has {group.desired} machines, of which MAX_MACHINES={most} "
                    "would end some; make scale first"
                )

    def _refuse_bucket_of_others(self) -> None:
        """Refuse a bucket that the stack would have to make and that is there."""
        bucket = self._channel.bucket
        if bucket.exists():
            raise OperateError(
                f"the bucket {bucket.name} is there already, and the stack makes its own; set "
                "BUCKET to a name that is free, or import it into a stack first (CloudFormation, "
                "resource import)"
            )

    def _apply(
        self, template: str, before: Mapping[str, Any], parameters: Mapping[str, str | None]
    ) -> None:
        listed = [
            {"ParameterKey": key, "UsePreviousValue": True} if value is None
            else {"ParameterKey": key, "ParameterValue": value}
            for key, value in parameters.items()
        ]  # fmt: skip
        seen = {event["EventId"] for event in self._events()} if before else set()
        cloudformation = self._cloudformation
        change = cloudformation.update_stack if before else cloudformation.create_stack
        try:
            with aws.asking(self._channel.region):
                change(
                    StackName=self._name, TemplateBody=template, Parameters=listed,
                    Capabilities=["CAPABILITY_IAM"],
                )  # fmt: skip
        except AwsError as error:
            if "No updates are to be performed" not in error.said:
                raise
            self._say(f"stack: {self._name} is as it should be")
        else:
            self._follow(seen)

    def _events(self) -> list[dict[str, Any]]:
        """Return what has happened to the stack, oldest first."""
        pages = self._cloudformation.get_paginator("describe_stack_events")
        found = [
            event for page in pages.paginate(StackName=self._name) for event in page["StackEvents"]
        ]
        return list(reversed(found))

    def _follow(self, seen: set[str]) -> None:
        """Tell each resource that is done, until the stack is.

        Raises:
            OperateError: it was rolled back; the message has the first reason.
        """
        began = time.monotonic()
        reason = ""
        while True:
            for event in self._events():
                if event["EventId"] in seen:
                    continue
                seen.add(event["EventId"])
                status, resource = event["ResourceStatus"], event["LogicalResourceId"]
                if status.endswith("_FAILED") and not reason:
                    reason = f"{resource}: {event.get('ResourceStatusReason', status)}"
                if not status.endswith("_IN_PROGRESS"):
                    passed = time.monotonic() - began
                    self._say(f"  {passed:4.0f} s  {status.lower()}  {resource}")
            [now] = self._cloudformation.describe_stacks(StackName=self._name)["Stacks"]
            if not now["StackStatus"].endswith("_IN_PROGRESS"):
                break
            time.sleep(POLL_SECONDS)
        if now["StackStatus"] not in {"CREATE_COMPLETE", "UPDATE_COMPLETE"}:
            raise OperateError(f"{now['StackStatus'].lower()}: {reason or 'AWS does not say why'}")

    def _tell(self) -> None:
        stack = self._describe()
        for output in stack.get("Outputs", []):
            self._say(f"stack: {output['OutputKey']} is {output['OutputValue']}")
            self._say(f"         {output['Description']}")
        now = values(stack)
        if not now["WebFrom"] and not now["LoadBalancer"]:
            self._say(
                "stack: nothing may reach web yet: WEB_FROM=CIDR or LOAD_BALANCER=sg-... lets it"
            )


_NAMES = {each.parameter for each in PARAMETERS}
_DEFAULTS = {each.parameter: each.default for each in PARAMETERS}


def values(stack: Mapping[str, Any]) -> dict[str, str]:
    """Return the parameters that the stack has now."""
    listed = stack.get("Parameters", [])
    return {each["ParameterKey"]: each.get("ParameterValue", "") for each in listed}


def given(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the parameters that variables set. Empty is a value where it is the default."""
    return {
        each.parameter: environ[each.name]
        for each in PARAMETERS
        if each.name in environ and (environ[each.name] or each.default == "")
    }
