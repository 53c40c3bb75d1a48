"""make stack, scale and machines against moto; and what the stack's roles may do, at the gate."""

import base64
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from cfnlint.decode import decode_str
from project import ROOT

from autoupdate.release.format import Release, to_metadata
from autoupdate.release.signature import sign
from develop.lab.gate import OPERATOR, admit
from develop.lab.policy import allows
from develop.localcloud import LocalCloud

RELEASE = "stable/tiny-server.deb"


class Stack:
    """The operator's tools, and the cloud that they work on."""

    def __init__(self, cloud: LocalCloud, key: Path) -> None:
        self.cloud = cloud
        self.environ = {
            **{name: text for name, text in os.environ.items() if name in {"PATH", "HOME"}},
            **cloud.environ,
            "NAME": "tiny",
            "BUCKET": "tiny-releases",
            "CHANNEL": "stable",
            "SIGNING_KEY": str(key),
        }

    def run(self, *words: str, **environ: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "operate", *words], cwd=ROOT / "scripts",
            env={**self.environ, **environ}, capture_output=True, text=True, check=False,
        )  # fmt: skip

    def make(self, **environ: str) -> str:
        done = self.run("stack", **environ)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def properties(self, logical_id: str) -> Any:
        """Return what the rendered template says, for what moto passes over."""
        template, _ = decode_str(self.run("stack", "--render").stdout)
        assert template
        return template["Resources"][logical_id]["Properties"]

    def role(self, logical_id: str) -> Any:
        """Return the role as IAM has it, under the name that the stack gave it."""
        [found] = [
            each
            for each in self.cloud.client("iam").list_roles()["Roles"]
            if each["RoleName"].startswith(f"tiny-{logical_id}-")
        ]
        return found

    def launch_data(self, role: str) -> dict[str, Any]:
        versions = self.cloud.client("ec2").describe_launch_template_versions(
            LaunchTemplateId=self.group(role)["LaunchTemplate"]["LaunchTemplateId"],
            Versions=["$Latest"],
        )
        data: dict[str, Any] = versions["LaunchTemplateVersions"][0]["LaunchTemplateData"]
        return data

    def group(self, role: str, name: str = "tiny") -> dict[str, Any]:
        [found] = self.cloud.client("autoscaling").describe_auto_scaling_groups(
            AutoScalingGroupNames=[f"{name}-{role}"]
        )["AutoScalingGroups"]
        group: dict[str, Any] = found
        return group

    def web_is_open_to(self) -> list[str]:
        [found] = self.cloud.client("ec2").describe_security_groups(
            Filters=[{"Name": "description", "Values": ["tiny web"]}]
        )["SecurityGroups"]
        ranges = [each for rule in found["IpPermissions"] for each in rule["IpRanges"]]
        return [each["CidrIp"] for each in ranges]


@pytest.fixture(scope="module")
def stack(signing_key: Path) -> Iterator[Stack]:
    with LocalCloud("other") as cloud:
        stack = Stack(cloud, signing_key)
        stack.make()
        yield stack


def test_template_is_clean_before_and_after_rendering(stack: Stack, tmp_path: Path) -> None:
    lint = Path(sys.executable).with_name("cfn-lint")
    rendered = tmp_path / "stack.yaml"
    rendered.write_text(stack.run("stack", "--render").stdout)
    assert rendered.stat().st_size < 51_200
    for template in (ROOT / "cloud-init/stack.yaml", rendered):
        subprocess.run([lint, template], check=True)


def test_bucket_is_private_versioned_and_keeps_the_last_ten(stack: Stack) -> None:
    s3 = stack.cloud.client("s3")
    for bucket, logical_id in (("tiny-releases", "Releases"),
                               ("tiny-releases-pictures", "Pictures")):  # fmt: skip
        assert s3.get_bucket_encryption(Bucket=bucket)
        blocked = stack.properties(logical_id)["PublicAccessBlockConfiguration"]
        assert (len(blocked), set(blocked.values())) == (4, {True})
    releases = stack.properties("Releases")
    assert releases["VersioningConfiguration"] == {"Status": "Enabled"}
    assert releases["LifecycleConfiguration"]["Rules"][0]["NoncurrentVersionExpiration"] == {
        "NoncurrentDays": {"Ref": "KeepReleasesDays"}, "NewerNoncurrentVersions": 10
    }  # fmt: skip


def test_only_tls_is_answered(stack: Stack) -> None:
    for bucket in ("Releases", "Pictures"):
        policy = stack.properties(f"{bucket}Policy")
        assert policy["Bucket"] == {"Ref": bucket}
        document = policy["PolicyDocument"]
        [statement] = document["Statement"]
        arns = [{"Fn::GetAtt": [bucket, "Arn"]}, {"Fn::Sub": f"${{{bucket}.Arn}}/*"}]
        assert statement["Resource"] == arns
        statement["Resource"] = ["arn:x", "arn:x/*"]
        everything = {"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}
        for tls, allowed in (("true", True), ("false", False)):
            context = {"aws:SecureTransport": tls}
            assert allows([everything, document], "s3:GetObject", "arn:x/key", context) is allowed


def test_job_that_kills_its_workers_ends_in_the_dead_letter_queue(stack: Stack) -> None:
    sqs = stack.cloud.client("sqs")
    url = sqs.get_queue_url(QueueName="tiny-jobs")["QueueUrl"]
    found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    policy = json.loads(found["RedrivePolicy"])
    assert policy["deadLetterTargetArn"].endswith(":tiny-jobs-dead")
    assert policy["maxReceiveCount"] == 5


@pytest.mark.parametrize("role", ["Web", "Vision"])
def test_machine_starts_with_user_data_that_knows_the_stack(stack: Stack, role: str) -> None:
    data = stack.launch_data(role.lower())
    assert data["MetadataOptions"]["HttpTokens"] == "required"
    assert data["MetadataOptions"]["HttpPutResponseHopLimit"] == 1
    assert data["ImageId"].startswith("resolve:ssm:/aws/service/")
    text = base64.b64decode(data["UserData"]).decode()
    assert text.startswith("#!/usr/bin/python3\n")
    assert len(text) < 16384
    settings = json.loads(re.search(r"^SETTINGS = (.*)$", text, re.M)[1])  # type: ignore[index]
    assert settings["ROLES"] == role.lower()
    assert settings["QUEUE_URL"].endswith("/tiny-jobs")
    assert settings["BUCKET_URL"] == "s3://tiny-releases-pictures"
    assert settings["ROLE_ID"].startswith("AROA")


def test_stack_made_again_is_left_as_it_is(stack: Stack) -> None:
    assert "tiny is as it should be" in stack.make()


def test_settings_are_kept_until_they_are_given_again(stack: Stack) -> None:
    assert stack.web_is_open_to() == []
    stack.make(WEB_FROM="10.0.0.0/8")
    assert stack.web_is_open_to() == ["10.0.0.0/8"]
    stack.make(LOG_HOST="logs.example.org:514")
    assert stack.web_is_open_to() == ["10.0.0.0/8"]
    stack.make(WEB_FROM="")
    [now] = stack.cloud.client("cloudformation").describe_stacks(StackName="tiny")["Stacks"]
    values = {each["ParameterKey"]: each["ParameterValue"] for each in now["Parameters"]}
    assert (values["LogHost"], values["WebFrom"]) == ("logs.example.org:514", "")


def test_groups_are_scaled_and_their_machines_listed(stack: Stack) -> None:
    assert (stack.group("web")["DesiredCapacity"], stack.group("web")["MinSize"]) == (0, 0)
    scaled = stack.run("scale", "web", "2")
    assert scaled.stdout == "tiny-web: 0 machines, 2 wanted; make machines shows them\n"
    instances = stack.group("web")["Instances"]
    reported = {"state": "current", "roles": {"web": {"version": "1.0-7", "state": "ready"}}}
    key = f"fleet/AROAEXAMPLEEXAMPLE:{instances[0]['InstanceId']}.json"
    s3 = stack.cloud.client("s3")
    s3.put_object(Bucket="tiny-releases", Key=key, Body=json.dumps(reported).encode())
    lines = stack.run("machines").stdout.splitlines()
    assert lines[0].split()[:3] == ["MACHINE", "GROUP", "STATE"]
    [known] = [line for line in lines if instances[0]["InstanceId"] in line]
    assert re.search(r"tiny-web +InService +HEALTHY +[0-9.]+ +web 1\.0-7 ready +\d+ s ago", known)
    [new] = [line for line in lines if instances[1]["InstanceId"] in line]
    assert new.endswith("never")
    # An update of the stack leaves the number alone.
    stack.make(KEEP_RELEASES_DAYS="30")
    assert stack.group("web")["DesiredCapacity"] == 2


def test_machines_of_large_groups_are_all_listed_with_their_addresses(stack: Stack) -> None:
    # More than a filter of EC2 takes values, and than fit into a page.
    many = {"NAME": "many", "BUCKET": "many-releases"}
    stack.make(MAX_MACHINES="300", **many)
    assert stack.run("scale", "web", "230", **many).returncode == 0
    listed = stack.run("machines", **many)
    assert listed.returncode == 0, listed.stderr
    rows = re.findall(r"^i-\w+ +many-web +InService +HEALTHY +[0-9.]+ +- +never$",
                      listed.stdout, re.M)  # fmt: skip
    assert len(rows) == 230
    assert "many-web: 230 in service, 230 wanted" in listed.stdout


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        (["scale", "web", "21"], "tiny-web may have 20 machines at most; make stack MAX_MACHINES="),
        (["scale", "web", "-1"], "N is '-1'; use a number"),
        (["scale", "db", "1"], "ROLE is 'db'; use web or vision: make scale ROLE=web N=2"),
        (["scale", "", "1"], "ROLE is not set; say make scale ROLE=web N=2"),
    ],
)
def test_number_that_a_group_cannot_have_is_refused(
    stack: Stack, words: list[str], cause: str
) -> None:
    before = stack.group("web")["DesiredCapacity"]
    refused = stack.run(*words)
    assert refused.returncode == 1
    [line] = refused.stderr.splitlines()
    assert line.startswith("scale: cannot scale: ")
    assert cause in line
    assert stack.group("web")["DesiredCapacity"] == before


@pytest.mark.parametrize(
    ("environ", "cause"),
    [
        ({"BUCKET": ""}, "BUCKET is not set"),
        ({"BUCKET": "another"}, "it was made with BUCKET=tiny-releases"),
        ({"CHANNEL": "beta"}, "it was made with CHANNEL=stable"),
        ({"VPC": "vpc-1", "SUBNETS": "subnet-1"}, "it was made with VPC=vpc-"),
        ({"MAX_MACHINES": "1"}, "tiny-web has 2 machines, of which MAX_MACHINES=1 would end some"),
        ({"NAME": "fresh"}, "the bucket tiny-releases is there already"),
        ({"NAME": "fresh", "BUCKET": "fresh", "VPC": "vpc-1"}, "VPC and SUBNETS go together"),
        ({"NAME": "fresh", "BUCKET": "fresh", "INSTANCE_TYPE": "x9.huge"}, "has x9.huge"),
        ({"BUCKET": "Tiny "}, "BUCKET is 'Tiny '; use 3 to 63"),
        ({"SIGNING_KEY": ""}, "SIGNING_KEY is not set"),
        ({"SIGNING_KEY": "/nowhere/key"}, "/nowhere/key"),
        ({"LOAD_BALANCER": "sg-0123"}, "sg-0123"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, "127.0.0.1:1"),
    ],
)
def test_stack_that_cannot_be_made_is_one_line(
    stack: Stack, environ: dict[str, str], cause: str
) -> None:
    refused = stack.run("stack", **environ)
    assert refused.returncode == 1
    [line] = refused.stderr.splitlines()
    assert line.startswith("stack: cannot make the stack: ")
    assert cause in line


def test_key_that_has_not_signed_what_new_machines_will_find_is_refused(
    stack: Stack, tmp_path: Path
) -> None:
    keygen = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "stranger", "-f"]
    subprocess.run([*keygen, tmp_path / "key"], check=True)
    s3 = stack.cloud.client("s3")
    release = Release("tiny-server", "1.0-1", "all", "0" * 64, 1, 1, "2026-11-23T08:10:00Z", "",
                      "stable")  # fmt: skip
    signature = sign(release.to_json(), Path(stack.environ["SIGNING_KEY"]), "tiny-release")
    s3.put_object(
        Bucket="tiny-releases", Key=RELEASE, Body=b"1", Metadata=to_metadata(release, signature)
    )
    assert "as it should be" in stack.make()
    refused = stack.run("stack", SIGNING_KEY=str(tmp_path / "key"))
    assert refused.returncode == 1
    assert "new machines would trust SIGNING_KEY alone" in refused.stderr
    s3.delete_object(Bucket="tiny-releases", Key=RELEASE)


def test_empty_variable_is_no_value_but_where_that_is_the_default(stack: Stack) -> None:
    stack.make(VPC="", SUBNETS="", IMAGE="", INSTANCE_TYPE="", MAX_MACHINES="", LOG_HOST="")
    assert stack.launch_data("web")["InstanceType"] in {"t3.small", "t4g.small"}
    assert stack.group("web")["MaxSize"] == 20


def test_groups_that_are_not_there_are_named(stack: Stack) -> None:
    missing = stack.run("machines", NAME="other")
    assert missing.returncode == 1
    assert "there is no group other-web or other-vision; make stack makes them" in missing.stderr


def test_load_balancer_gets_a_target_group_that_drains(stack: Stack) -> None:
    ec2 = stack.cloud.client("ec2")
    balancer = ec2.create_security_group(GroupName="balancer", Description="x")["GroupId"]
    said = stack.make(LOAD_BALANCER=balancer, NAME="behind", BUCKET="behind-releases")
    arn = re.search(r"WebTargets is (\S+)", said)[1]  # type: ignore[index]
    elb = stack.cloud.client("elbv2")
    [group] = elb.describe_target_groups(TargetGroupArns=[arn])["TargetGroups"]
    assert (group["HealthCheckPath"], group["Port"]) == ("/healthz", 8000)
    assert stack.group("web", "behind")["TargetGroupARNs"] == [arn]
    assert stack.group("web", "behind")["HealthCheckType"] == "ELB"
    [drains] = stack.properties("WebTargets")["TargetGroupAttributes"]
    assert drains == {"Key": "deregistration_delay.timeout_seconds", "Value": "90"}


# The roles


Client = Callable[[str, str], Any]


@pytest.fixture(scope="module")
def client(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """Give clients of a service with a role's rights, as `Role:session` of the stack."""
    folder = tmp_path_factory.mktemp("identities")
    upstream = stack.environ["AWS_ENDPOINT_URL"]
    gate = subprocess.Popen(
        [sys.executable, "-m", "develop.lab.gate", "127.0.0.1", "0", upstream, folder],
        cwd=ROOT / "scripts", stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert gate.stdout
    url = gate.stdout.readline().strip()

    def give(service: str, who: str) -> Any:
        role, session = who.split(":")
        found = stack.role(role)
        answer = stack.cloud.client("sts").assume_role(
            RoleArn=found["Arn"], RoleSessionName=session
        )
        keys = admit(folder, found["RoleName"], answer)
        return boto3.session.Session().client(
            service, endpoint_url=url, region_name="us-east-1",
            config=Config(retries={"max_attempts": 1}),
            aws_access_key_id=keys["AccessKeyId"],
            aws_secret_access_key=keys["SecretAccessKey"],
            aws_session_token=keys["Token"],
        )  # fmt: skip

    yield give
    gate.kill()
    gate.wait()
    gate.stdout.close()


def is_allowed(call: Callable[..., Any], **arguments: Any) -> bool:
    """Make a call; tell whether it got through."""
    try:
        call(**arguments)
    except ClientError as error:
        assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 403
        return False
    return True


def report_key(stack: Stack, who: str) -> str:
    role, session = who.split(":")
    return f"fleet/{stack.role(role)['RoleId']}:{session}.json"


@pytest.fixture(scope="module")
def objects(stack: Stack) -> None:
    s3 = stack.cloud.client("s3")
    # moto's CloudFormation passes over it.
    versioning = {"Status": "Enabled"}
    s3.put_bucket_versioning(Bucket="tiny-releases", VersioningConfiguration=versioning)
    for key in (RELEASE, "beta/tiny-server.deb", "stable/other-server.deb"):
        s3.put_object(Bucket="tiny-releases", Key=key, Body=b"1")
    s3.put_object(Bucket="tiny-releases-pictures", Key="job/photo", Body=b"1")


@pytest.mark.parametrize("who", ["WebRole:i-1", "VisionRole:i-2"])
def test_machine_reads_its_channel_and_writes_its_own_report_and_nothing_else(
    stack: Stack, client: Client, objects: None, who: str
) -> None:
    s3 = client("s3", who)
    releases = {"Bucket": "tiny-releases"}
    own = report_key(stack, who)
    assert is_allowed(s3.head_object, **releases, Key=RELEASE)
    assert is_allowed(s3.get_object, **releases, Key=RELEASE)
    assert is_allowed(s3.put_object, **releases, Key=own, Body=b"{}")
    others = [
        report_key(stack, "WebRole:i-9"), report_key(stack, "VisionRole:i-9"),
        "fleet/i-1.json", "fleet/i-2.json", f"{own}.json", own.replace(":", ":x"),
    ]  # fmt: skip
    for key in (*others, RELEASE, "beta/tiny-server.deb", "stable/other-server.deb", "new"):
        assert not is_allowed(s3.put_object, **releases, Key=key, Body=b"x"), key
        assert not is_allowed(s3.delete_object, **releases, Key=key), key
    for key in (*others, own, "beta/tiny-server.deb", "stable/other-server.deb"):
        assert not is_allowed(s3.get_object, **releases, Key=key), key
    version = stack.cloud.client("s3").head_object(**releases, Key=RELEASE)["VersionId"]
    assert not is_allowed(s3.get_object, **releases, Key=RELEASE, VersionId=version)
    assert not is_allowed(s3.put_object_acl, **releases, Key=own, ACL="public-read")
    source = {"Bucket": "tiny-releases", "Key": RELEASE}
    assert not is_allowed(s3.copy_object, **releases, Key=own, CopySource=source)
    assert not is_allowed(s3.get_bucket_policy, **releases)
    assert not is_allowed(s3.list_objects_v2, **releases)
    assert not is_allowed(s3.list_object_versions, **releases)
    assert not is_allowed(s3.delete_object, **releases, Key=own)
    for service, call in (("iam", "list_users"), ("ec2", "describe_instances"),
                          ("autoscaling", "describe_auto_scaling_groups")):  # fmt: skip
        assert not is_allowed(getattr(client(service, who), call))


def test_web_gives_jobs_and_vision_takes_them(stack: Stack, client: Client, objects: None) -> None:
    queue = {"QueueUrl": stack.cloud.client("sqs").get_queue_url(QueueName="tiny-jobs")["QueueUrl"]}
    dead = {"QueueUrl": f"{queue['QueueUrl']}-dead"}
    web, vision = client("sqs", "WebRole:i-1"), client("sqs", "VisionRole:i-2")
    assert is_allowed(web.send_message, **queue, MessageBody="job")
    assert not is_allowed(vision.send_message, **queue, MessageBody="job")
    assert not is_allowed(web.receive_message, **queue)
    taken = vision.receive_message(**queue)["Messages"][0]
    handle = {"ReceiptHandle": taken["ReceiptHandle"]}
    for each, allowed in ((web, False), (vision, True)):
        ask = {**queue, **handle}
        assert is_allowed(each.get_queue_attributes, **queue)
        assert is_allowed(each.change_message_visibility, **ask, VisibilityTimeout=30) is allowed
        assert is_allowed(each.delete_message, **ask) is allowed
        assert not is_allowed(each.purge_queue, **queue)
        assert not is_allowed(each.receive_message, **dead)
    for who in ("WebRole:i-1", "VisionRole:i-2"):
        s3 = client("s3", who)
        pictures = {"Bucket": "tiny-releases-pictures", "Key": "job/photo"}
        assert is_allowed(s3.put_object, **pictures, Body=b"2")
        assert is_allowed(s3.get_object, **pictures)
        assert not is_allowed(s3.delete_object, **pictures)
        assert not is_allowed(s3.list_objects_v2, Bucket="tiny-releases-pictures")


def test_publisher_publishes_and_reads_reports_and_nothing_else(
    stack: Stack, client: Client, objects: None
) -> None:
    s3 = client("s3", "Publisher:ann")
    releases = {"Bucket": "tiny-releases"}
    etag = s3.head_object(**releases, Key=RELEASE)["ETag"]
    assert is_allowed(s3.put_object, **releases, Key=RELEASE, Body=b"2", IfMatch=etag)
    assert is_allowed(s3.put_object, **releases, Key="beta/tiny-server.deb", Body=b"2")
    assert is_allowed(s3.list_objects_v2, **releases, Prefix="fleet/")
    versions = s3.list_object_versions(**releases, Prefix=RELEASE)["Versions"]
    assert is_allowed(s3.get_object, **releases, Key=RELEASE, VersionId=versions[-1]["VersionId"])
    own = report_key(stack, "WebRole:i-1")
    stack.cloud.client("s3").put_object(**releases, Key=own, Body=b"{}")
    assert is_allowed(s3.get_object, **releases, Key=own)
    assert not is_allowed(s3.put_object, **releases, Key=own, Body=b"x")
    assert not is_allowed(s3.put_object, **releases, Key="stable/other-server.deb", Body=b"x")
    assert not is_allowed(s3.delete_object, **releases, Key=RELEASE)
    pictures = {"Bucket": "tiny-releases-pictures", "Key": "job/photo"}
    assert not is_allowed(s3.get_object, **pictures)
    assert not is_allowed(s3.put_object, **pictures, Body=b"x")
    assert not is_allowed(client("sqs", "Publisher:ann").list_queues)


def test_key_that_nobody_knows_is_denied(stack: Stack, client: Client, objects: None) -> None:
    known = client("s3", "WebRole:i-1")
    url = known.meta.endpoint_url
    for key, allowed in (("AKIASTRANGER", False), (OPERATOR, True)):
        stranger = boto3.session.Session().client(
            "s3", endpoint_url=url, region_name="us-east-1",
            aws_access_key_id=key, aws_secret_access_key="x",  # noqa: S106  # no secret
        )  # fmt: skip
        got = is_allowed(stranger.get_object, Bucket="tiny-releases", Key=RELEASE)
        assert got is allowed
