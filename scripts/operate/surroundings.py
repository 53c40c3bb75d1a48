"""The first parameters of the stack, taken from this computer and from the region."""

import platform
import subprocess
from collections.abc import Mapping

from operate import aws
from operate.errors import OperateError

# The stock images, newest at each launch: public parameters of their publishers (Debian wiki,
# Cloud/AmazonEC2Image/Marketplace; Ubuntu on AWS, Find Ubuntu images with the SSM Parameter Store).
IMAGES = {
    ("debian", "12"): "/aws/service/debian/release/12/latest/{architecture}",
    ("debian", "13"): "/aws/service/debian/release/13/latest/{architecture}",
    ("ubuntu", "22.04"): "/aws/service/canonical/ubuntu/server/22.04/stable/current/{architecture}"
    "/hvm/ebs-gp2/ami-id",
    ("ubuntu", "24.04"): "/aws/service/canonical/ubuntu/server/24.04/stable/current/{architecture}"
    "/hvm/ebs-gp3/ami-id",
}


def parameters(region: str, environ: Mapping[str, str]) -> dict[str, str | None]:
    """Return those that are not given and depend on where this runs.

    Raises:
        OperateError: AWS cannot be asked, or has no answer.
    """
    found: dict[str, str | None] = {}
    architecture = subprocess.run(
        ["dpkg", "--print-architecture"], capture_output=True, text=True, check=True
    ).stdout.strip()
    if not environ.get("IMAGE"):
        found["Image"] = image(architecture)
    instance_type = "t4g.small" if architecture == "arm64" else "t3.small"
    found["InstanceType"] = instance_type
    if bool(environ.get("VPC")) != bool(environ.get("SUBNETS")):
        raise OperateError("VPC and SUBNETS go together: set both, or neither")
    if not environ.get("VPC"):
        wanted = environ.get("INSTANCE_TYPE") or instance_type
        found["Vpc"], found["Subnets"] = default_network(region, wanted)
    return found


def default_network(region: str, instance_type: str) -> tuple[str, str]:
    """Return the default VPC and its default subnets in the zones that have `instance_type`.

    Raises:
        OperateError: AWS cannot be asked, or there are none.
    """
    ec2 = aws.client("ec2", region)
    with aws.asking(region):
        vpcs = ec2.describe_vpcs(Filters=[_filter("is-default", "true")])["Vpcs"]
        if not vpcs:
            raise OperateError(
                "this region has no default VPC; set VPC=vpc-... and SUBNETS=subnet-..."
            )
        vpc: str = vpcs[0]["VpcId"]
        offered = ec2.describe_instance_type_offerings(
            LocationType="availability-zone", Filters=[_filter("instance-type", instance_type)]
        )["InstanceTypeOfferings"]
        listed = ec2.describe_subnets(
            Filters=[_filter("vpc-id", vpc), _filter("default-for-az", "true")]
        )["Subnets"]
    zones = {each["Location"] for each in offered}
    subnets = sorted(each["SubnetId"] for each in listed if each["AvailabilityZone"] in zones)
    if not subnets:
        raise OperateError(
            f"no zone of the default VPC {vpc} has {instance_type}; set INSTANCE_TYPE, or VPC and "
            "SUBNETS"
        )
    return vpc, ",".join(subnets)


def _filter(name: str, value: str) -> dict[str, object]:
    return {"Name": name, "Values": [value]}


def image(architecture: str) -> str:
    """Return the stock image of what the package was built on."""
    release = platform.freedesktop_os_release()
    this = (release.get("ID", ""), release.get("VERSION_ID", ""))
    if this not in IMAGES:
        raise OperateError(
            f"{' '.join(this)} is not one of {', '.join(map(' '.join, IMAGES))}, for which the "
            "stock image is known; set IMAGE to one on which the package can run"
        )
    return "resolve:ssm:" + IMAGES[this].format(architecture=architecture)
