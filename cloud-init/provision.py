"""Makes a new machine serve the current release: the whole of its provisioning.

Travels in the user-data (see cloud-init/user-data) and needs what stock images
of Ubuntu 22.04 and 24.04, Debian 12 and 13 carry: Python's standard library, dpkg,
apt-get, ssh-keygen and systemd. It verifies the release by the very code of the
updater, which travels with it.

It may be run again: what is done already is left alone. What can pass is tried
again for half an hour; every other failure, and its reason, is on the console and
in /var/log/cloud-init-output.log, and `cloud-init status` says that there was one.
"""

import hashlib
import hmac
import http.client
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.parse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from autoupdate.release.format import Release
from autoupdate.release.signature import ReleaseError
from autoupdate.release.trust import Trust

METADATA_ADDRESS = "169.254.169.254"  # Amazon EC2 User Guide, Instance metadata
METADATA_SECONDS = 5
REQUEST_SECONDS = 60
GIVE_UP_SECONDS = 1800
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 30.0
LOCK_SECONDS = 300  # unattended-upgrades may be at work at a first boot
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()

# What tells this program who it is, and is no setting of the service or the updater.
OWN_SETTINGS = {"NAME", "ROLE_ID"}

Result = TypeVar("Result")


class ProvisionError(Exception):
    """The machine cannot be provisioned; the message says why in one line."""


class NotYetError(Exception):
    """What may pass: the network, the instance profile, the first release, a mirror."""


def main(settings: Mapping[str, str], allowed_signers: str) -> int:
    """Provision this machine. Returns the exit status, which cloud-init reports."""
    began = time.monotonic()
    failures = []
    try:
        write_settings(settings)
        install_release(settings, allowed_signers)
        failures += start(settings)
        if not failures:
            say(f"serves after {time.monotonic() - began:.1f} s")
        # All the more where something failed.
        forward_logs(settings)
    except ProvisionError as error:
        failures.append(str(error))
    for failure in failures:
        say(f"failed: {failure}")
    return 1 if failures else 0


def say(text: str) -> None:
    """Tell the console and cloud-init's log."""
    print(f"user-data: {text}", file=sys.stderr, flush=True)


def patiently(attempt: Callable[[], Result]) -> Result:
    """Return what `attempt` returns, once it does not raise NotYetError any more.

    Raises:
        ProvisionError: it has done so for too long.
    """
    began = time.monotonic()
    pause, said = FIRST_PAUSE_SECONDS, ""
    while True:
        try:
            return attempt()
        except NotYetError as error:
            seconds = time.monotonic() - began
            if seconds > GIVE_UP_SECONDS:
                raise ProvisionError(f"gave up after {seconds:.0f} s: {error}") from error
            if str(error) != said:
                said = str(error)
                say(f"{said}; tries again")
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


# The settings that the service and the updater read


def write_settings(settings: Mapping[str, str]) -> None:
    """Write /etc/default/NAME, unless somebody has already."""
    name = settings["NAME"]
    path = Path("/etc/default") / name
    if path.exists():
        return
    values = {key: value for key, value in settings.items() if key not in OWN_SETTINGS and value}
    if role_id := settings.get("ROLE_ID"):
        # The instance profile lets a machine write to this name alone (IAM User Guide, policy
        # variables: the aws:userid of an EC2 instance is ROLE-ID:INSTANCE-ID).
        values["MACHINE"] = f"{role_id}:{patiently(instance_id)}"
    lines = [f"# Written by user-data. All settings: /usr/share/{name}/defaults"]
    lines += [f"{key}={value}" for key, value in values.items()]
    new = path.with_name(f".{path.name}.new")
    new.write_text("\n".join(lines) + "\n")
    new.chmod(0o644)
    new.replace(path)


# The release


def install_release(settings: Mapping[str, str], allowed_signers: str) -> None:
    """Install the current release, unless one is installed.

    Raises:
        ProvisionError: it cannot be had, or is not to be trusted.
    """
    package = f"{settings['NAME']}-server"
    if is_installed(package):
        return
    with tempfile.TemporaryDirectory(prefix=f"{package}-", dir="/var/cache") as folder:
        # apt-get reads it as a user of its own.
        Path(folder).chmod(0o755)
        deb = Path(folder) / f"{package}.deb"
        release = patiently(lambda: download(settings, allowed_signers, deb))
        say(f"installs {package} {release.version}")
        patiently(lambda: install(deb))


def download(settings: Mapping[str, str], allowed_signers: str, deb: Path) -> Release:
    """Get the release in one request, and keep its body as `deb` once it is verified.

    Raises:
        NotYetError: it cannot be had now.
        ProvisionError: it is not to be trusted.
    """
    host, path = location(settings)
    headers = signed_headers(credentials(), settings["REGION"], host, path)
    connection = connect(host, settings.get("AWS_ENDPOINT_URL", ""))
    try:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        if response.status != http.client.OK:
            raise NotYetError(refusal(response))
        metadata = {
            each: response.getheader(f"x-amz-meta-{each}", "") for each in ("release", "signature")
        }
        release = verified(settings, allowed_signers, metadata)
        body = response.read(release.size + 1)
    except (OSError, http.client.HTTPException) as error:
        raise NotYetError(f"cannot reach the bucket: {error}") from error
    finally:
        connection.close()
    if len(body) < release.size:
        raise NotYetError(f"the download was cut short: {len(body)} of {release.size} bytes")
    if len(body) != release.size or hashlib.sha256(body).hexdigest() != release.sha256:
        raise ProvisionError(f"the body of release {release.version} is not what was signed")
    deb.write_bytes(body)
    return release


def verified(
    settings: Mapping[str, str], allowed_signers: str, metadata: Mapping[str, str]
) -> Release:
    """Return the release of an object's metadata, checked as the updater checks it."""
    name = settings["NAME"]
    try:
        release, _ = Trust(allowed_signers).release(metadata, f"{name}-release")
    except ReleaseError as error:
        raise ProvisionError(f"refused what is in the bucket: {error}") from error
    wanted = {
        "package": (f"{name}-server",),
        "channel": (settings["CHANNEL"],),
        "architecture": (output("dpkg", "--print-architecture"), "all"),
    }
    for field, values in wanted.items():
        if getattr(release, field) not in values:
            raise ProvisionError(
                f"refused release {release.version}: its {field} is {getattr(release, field)}, "
                f"wanted is {values[0]}"
            )
    return release


# S3, by hand: curl 7.81 of Ubuntu 22.04 signs session tokens wrongly


def location(settings: Mapping[str, str]) -> tuple[str, str]:
    """Return the host and the path of the release."""
    bucket, region = settings["BUCKET"], settings["REGION"]
    key = f"/{settings['CHANNEL']}/{settings['NAME']}-server.deb"
    if endpoint := settings.get("AWS_ENDPOINT_URL"):
        return urllib.parse.urlsplit(endpoint).netloc, f"/{bucket}{key}"
    domain = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    if "." in bucket:  # AWS's certificate covers one label before s3
        return f"s3.{region}.{domain}", f"/{bucket}{key}"
    return f"{bucket}.s3.{region}.{domain}", key


def connect(host: str, endpoint: str) -> http.client.HTTPConnection:
    if endpoint.startswith("http:"):
        return http.client.HTTPConnection(host, timeout=REQUEST_SECONDS)
    return http.client.HTTPSConnection(host, timeout=REQUEST_SECONDS)


def signed_headers(keys: Mapping[str, str], region: str, host: str, path: str) -> dict[str, str]:
    """Sign a GET without a body: AWS Signature Version 4 (Amazon S3 API Reference)."""
    time_text = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    headers = {
        "host": host,
        "x-amz-content-sha256": EMPTY_SHA256,
        "x-amz-date": time_text,
        "x-amz-security-token": keys["Token"],
    }
    names = ";".join(headers)
    canonical_headers = "".join(f"{name}:{value}\n" for name, value in headers.items())
    request = f"GET\n{path}\n\n{canonical_headers}\n{names}\n{EMPTY_SHA256}"
    scope = f"{time_text[:8]}/{region}/s3/aws4_request"
    digest = hashlib.sha256(request.encode()).hexdigest()
    key = f"AWS4{keys['SecretAccessKey']}".encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    text = f"AWS4-HMAC-SHA256\n{time_text}\n{scope}\n{digest}".encode()
    signature = hmac.new(key, text, hashlib.sha256).hexdigest()
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={keys['AccessKeyId']}/{scope}, "
        f"SignedHeaders={names}, Signature={signature}"
    )
    return headers


def credentials() -> dict[str, str]:
    """Return the instance profile's credentials.

    Raises:
        NotYetError: the profile is not there, or not yet.
    """
    path = "iam/security-credentials/"
    try:
        role = metadata(path).split("\n")[0].strip()
        found: dict[str, str] = json.loads(metadata(f"{path}{role}"))
        return {each: found[each] for each in ("AccessKeyId", "SecretAccessKey", "Token")}
    except (ValueError, KeyError) as error:
        raise NotYetError(f"no credentials from the instance profile: {error!r:.200}") from error


def instance_id() -> str:
    """Return this machine's name in EC2.

    Raises:
        NotYetError: the metadata service does not answer yet.
    """
    found = metadata("instance-id")
    if not re.fullmatch(r"i-[0-9a-z]+", found):
        raise NotYetError(f"the metadata service says that this is instance {found!r:.80}")
    return found


def metadata(path: str) -> str:
    """Return instance metadata, by IMDSv2 (Amazon EC2 User Guide, Use IMDS).

    Raises:
        NotYetError: the metadata service does not answer yet.
    """
    ttl = {"X-aws-ec2-metadata-token-ttl-seconds": "300"}
    token = ask_metadata("PUT", "/latest/api/token", ttl)
    return ask_metadata("GET", f"/latest/meta-data/{path}", {"X-aws-ec2-metadata-token": token})


def ask_metadata(method: str, path: str, headers: Mapping[str, str]) -> str:
    connection = http.client.HTTPConnection(METADATA_ADDRESS, timeout=METADATA_SECONDS)
    try:
        connection.request(method, path, headers=dict(headers))
        response = connection.getresponse()
        body = response.read(1 << 16).decode()
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise NotYetError(f"the metadata service does not answer: {error!r:.200}") from error
    finally:
        connection.close()
    if response.status != http.client.OK:
        raise NotYetError(f"the metadata service answers {response.status} to {method} {path}")
    return body


def refusal(response: http.client.HTTPResponse) -> str:
    code = re.search(rb"<Code>([A-Za-z0-9.]{1,64})</Code>", response.read(4096))
    reason = code[1].decode() if code else response.reason
    return f"the bucket answers {response.status} {reason}"


# The machine


def is_installed(package: str) -> bool:
    command = ["dpkg-query", "-W", "-f=${db:Status-Status}", package]
    asked = subprocess.run(command, capture_output=True, text=True, check=False)
    return asked.stdout == "installed"


def install(*packages: Path | str) -> None:
    """Install with dependencies; package lists are fetched only if that is needed.

    Raises:
        NotYetError: apt-get says why; a mirror may be away, or somebody hold the lock.
    """
    options = ("-y", "--no-install-recommends", "-o", f"DPkg::Lock::Timeout={LOCK_SECONDS}")
    command = ("apt-get", *options, "install", *map(str, packages))
    if run(*command).returncode == 0:
        return
    run("apt-get", "-o", f"DPkg::Lock::Timeout={LOCK_SECONDS}", "update")
    done = run(*command)
    if done.returncode:
        raise NotYetError(f"cannot install {packages[-1]}: {last_line(done.stderr)}")


def forward_logs(settings: Mapping[str, str]) -> None:
    """Send all of the machine's log to LOG_HOST, as syslog, if there is one."""
    host, _, port = settings.get("LOG_HOST", "").rpartition(":")
    if not host:
        return
    if not Path("/usr/sbin/rsyslogd").exists():
        patiently(lambda: install("rsyslog"))
    rule = f'*.* action(type="omfwd" target="{host}" port="{port}" protocol="udp")\n'
    Path(f"/etc/rsyslog.d/60-{settings['NAME']}.conf").write_text(rule)
    done = run("systemctl", "restart", "rsyslog")
    if done.returncode:
        raise ProvisionError(f"cannot forward logs to {host}: {last_line(done.stderr)}")


def start(settings: Mapping[str, str]) -> list[str]:
    """Enable and start the roles, each of which is ready when this returns, and the updater.

    The updater is started even if a role is not, since the next release may be the one that
    starts. Returns why those that did not start did not.
    """
    name, failures = settings["NAME"], []
    for role in (*settings["ROLES"].split(), "autoupdate"):
        done = run("systemctl", "enable", "--now", f"{name}-{role}.service")
        if done.returncode:
            reason = role_error(name, role) or last_line(done.stderr)
            failures.append(f"{name}-{role} does not start: {reason}")
    return failures


def role_error(name: str, role: str) -> str:
    """Return why a role gave up, as it wrote into its status file; "" if it did not."""
    try:
        return str(json.loads(Path(f"/run/{name}/{role}.json").read_text())["error"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def run(*command: str) -> "subprocess.CompletedProcess[str]":
    environ = {
        **os.environ,
        "LC_ALL": "C.UTF-8",
        "DEBIAN_FRONTEND": "noninteractive",
        # needrestart hooks into apt-get: it may ask, and restarts services on its own.
        "NEEDRESTART_SUSPEND": "1",
    }
    return subprocess.run(
        command, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )


def output(*command: str) -> str:
    return run(*command).stdout.strip()


def last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it does not say why"
