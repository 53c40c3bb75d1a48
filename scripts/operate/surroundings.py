"""The first parameters of the stack, taken from this computer and from the region."""

import platform
import subprocess
from collections.abc import Mapping

from operate.aws import aws
from operate.publishing import PublishError

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


def parameters(environ: Mapping[str, str]) -> dict[str, str | None]:
    """Return those that are not given and depend on where this runs.

    Raises:
        AwsError: AWS cannot be asked.
        PublishError: there is no answer.
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
        raise PublishError("VPC and SUBNETS go together: set both, or neither")
    if not environ.get("VPC"):
        wanted = environ.get("INSTANCE_TYPE") or instance_type
        found["Vpc"], found["Subnets"] = default_network(wanted)
    return found


def default_network(instance_type: str) -> tuple[str, str]:
    """Return the default VPC and its default subnets in the zones that have `instance_type`.

    Raises:
        AwsError: AWS cannot be asked.
        PublishError: there are none.
    """
    vpcs = aws("ec2", "describe-vpcs", "--filters", "Name=is-default,Values=true")["Vpcs"]
    if not vpcs:
        raise PublishError("this region has no default VPC; set VPC=vpc-... and SUBNETS=subnet-...")
    vpc: str = vpcs[0]["VpcId"]
    offered = aws(
        "ec2", "describe-instance-type-offerings", "--location-type", "availability-zone",
        "--filters", f"Name=instance-type,Values={instance_type}",
    )["InstanceTypeOfferings"]  # fmt: skip
    zones = {each["Location"] for each in offered}
    listed = aws(
        "ec2", "describe-subnets", "--filters", f"Name=vpc-id,Values={vpc}",
        "Name=default-for-az,Values=true",
    )["Subnets"]  # fmt: skip
    subnets = sorted(each["SubnetId"] for each in listed if each["AvailabilityZone"] in zones)
    if not subnets:
        raise PublishError(
            f"no zone of the default VPC {vpc} has {instance_type}; set INSTANCE_TYPE, or VPC and "
            "SUBNETS"
        )
    return vpc, ",".join(subnets)


def image(architecture: str) -> str:
    """Return the stock image of what the package was built on."""
    release = platform.freedesktop_os_release()
    this = (release.get("ID", ""), release.get("VERSION_ID", ""))
    if this not in IMAGES:
        raise PublishError(
            f"{' '.join(this)} is not one of {', '.join(map(' '.join, IMAGES))}, for which the "
            "stock image is known; set IMAGE to one on which the package can run"
        )
    return "resolve:ssm:" + IMAGES[this].format(architecture=architecture)
