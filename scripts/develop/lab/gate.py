"""The gate before moto: what the roles' policies do not allow does not get through.

    python3 -m develop.lab.gate ADDRESS PORT UPSTREAM_URL FOLDER

moto knows roles and their policies, but cannot decide by them: it knows no policy variables. Here
each request is decided by the policies that moto has for the role of its access key. FOLDER holds
one file for each key of a role, KEY.json, with `role` and `user_id`; the operator's key has none
and may do everything. What was denied is written to FOLDER/denied, a line each: user, action,
resource. What AWS does and moto does not: without s3:ListBucket a missing key is answered 403.
"""

import http.client
import json
import os
import re
import sys
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import boto3

from develop.lab.policy import allows
from develop.lab.server import Server

OPERATOR = "operator"
REGION = "us-east-1"

_CREDENTIAL = re.compile(r"Credential=([^/]+)/[^/]+/[^/]+/([^/]+)/aws4_request")

# Amazon S3 User Guide, "Required permissions for Amazon S3 API operations".
_OF_OBJECTS = {
    "GET": "GetObject",
    "HEAD": "GetObject",
    "PUT": "PutObject",
    "DELETE": "DeleteObject",
}
_KNOWN_QUERIES = {"encoding-type", "list-type", "prefix", "versionId", "versions", "x-id"}
_OWN_HEADERS = {
    "connection",
    "content-length",
    "date",
    "expect",
    "server",
    "transfer-encoding",
}


class Gate(BaseHTTPRequestHandler):
    """Decides on one request, and passes it on."""

    upstream = ""
    folder = Path()
    policies: dict[str, list[dict[str, Any]]] = {}  # noqa: RUF012  # of the whole server, by role
    protocol_version = "HTTP/1.1"

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        found = _CREDENTIAL.search(self.headers.get("Authorization", ""))
        if not found:
            return self.refuse("nobody", "anything", self.path)
        key, service = found.groups()
        if key == OPERATOR:
            return self.pass_on(body, hides_missing=False)
        file = self.folder / f"{key}.json"
        if not file.exists():
            return self.refuse(key, "anything", self.path)
        identity = json.loads(file.read_text())
        documents = self.policies_of(identity["role"])
        context = {"aws:userid": identity["user_id"], "aws:SecureTransport": "true"}
        for action, resource in requirements(self, service, body):
            if not allows(documents, action, resource, context):
                return self.refuse(identity["user_id"], action, resource)
        bucket = f"arn:aws:s3:::{self.path.split('/')[1]}"
        listing = service != "s3" or allows(documents, "s3:ListBucket", bucket, context)
        return self.pass_on(body, hides_missing=not listing)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_any  # noqa: N815  # http.server's

    def policies_of(self, role: str) -> list[dict[str, Any]]:
        if role not in self.policies:
            self.policies[role] = list(documents_of(self.upstream, role))
        return self.policies[role]

    def refuse(self, user: str, action: str, resource: str) -> None:
        with (self.folder / "denied").open("a") as denied:
            denied.write(f"{user} {action} {resource}\n")
        self.answer_403()

    def answer_403(self) -> None:
        self.answer(
            403, {"Content-Type": "application/xml"}, b"<Error><Code>AccessDenied</Code></Error>"
        )

    def pass_on(self, body: bytes, *, hides_missing: bool) -> None:
        upstream = http.client.HTTPConnection(urllib.parse.urlsplit(self.upstream).netloc)
        upstream.request(self.command, self.path, body or None, end_to_end(self.headers.items()))
        response = upstream.getresponse()
        content = response.read()
        upstream.close()
        if response.status == 404 and hides_missing:
            return self.answer_403()
        length = response.getheader("Content-Length") if self.command == "HEAD" else None
        return self.answer(response.status, end_to_end(response.getheaders()), content, length)

    def answer(
        self, status: int, headers: dict[str, str], body: bytes, length: str | None = None
    ) -> None:
        self.send_response(status)
        for name, text in headers.items():
            self.send_header(name, text)
        self.send_header("Content-Length", length or str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *values: object) -> None:
        """Write nothing: moto has its own log, and `denied` is this one's."""


def end_to_end(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    return {name: text for name, text in headers if name.lower() not in _OWN_HEADERS}


def requirements(request: Gate, service: str, body: bytes) -> Iterator[tuple[str, str]]:
    """Yield each action and resource that a request needs the right to."""
    if service == "s3":
        path, _, query = request.path.partition("?")
        bucket, _, key = urllib.parse.unquote(path).lstrip("/").partition("/")
        names = set(urllib.parse.parse_qs(query, keep_blank_values=True))
        # An access list, a policy, a copy, an upload in parts: nobody here needs the right to it.
        if names - _KNOWN_QUERIES or request.headers.get("x-amz-copy-source"):
            yield "s3:other", f"arn:aws:s3:::{bucket}/{key}"
        if not key:
            action = "ListBucketVersions" if "versions" in names else "ListBucket"
            known = request.command in {"GET", "HEAD"}
            yield f"s3:{action}" if known else "s3:other", f"arn:aws:s3:::{bucket}"
            return
        version = "Version" if "versionId" in names else ""
        yield f"s3:{_OF_OBJECTS[request.command]}{version}", f"arn:aws:s3:::{bucket}/{key}"
        # Amazon S3 User Guide, "Conditional writes": If-Match takes the right to read, too.
        if request.command == "PUT" and request.headers.get("If-Match"):
            yield "s3:GetObject", f"arn:aws:s3:::{bucket}/{key}"
    elif service == "sqs":
        action = request.headers["X-Amz-Target"].partition(".")[2]
        queue = json.loads(body).get("QueueUrl", "/").rpartition("/")[2]
        yield f"sqs:{action}", f"arn:aws:sqs:{REGION}:123456789012:{queue}"
    else:
        yield f"{service}:other", "*"


def documents_of(upstream: str, role: str) -> Iterator[dict[str, Any]]:
    """Yield the policies of `role`: its own, and those attached to it."""
    iam = boto3.client(
        "iam", endpoint_url=upstream, region_name=REGION,
        aws_access_key_id=OPERATOR, aws_secret_access_key=OPERATOR,
    )  # fmt: skip
    for name in iam.list_role_policies(RoleName=role)["PolicyNames"]:
        yield _decoded(iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"])
    for each in iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]:
        arn = each["PolicyArn"]
        version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
        found = iam.get_policy_version(PolicyArn=arn, VersionId=version)
        yield _decoded(found["PolicyVersion"]["Document"])


def _decoded(document: Any) -> dict[str, Any]:
    # moto encodes a policy that came by CloudFormation twice.
    decoded: dict[str, Any] = json.loads(document) if isinstance(document, str) else document
    return decoded


def admit(folder: Path, role: str, answer: Mapping[str, Any]) -> dict[str, str]:
    """Let what sts:AssumeRole has answered for `role` in at the gate; return it as EC2 would."""
    keys = answer["Credentials"]
    identity = {"role": role, "user_id": answer["AssumedRoleUser"]["AssumedRoleId"]}
    (folder / f"{keys['AccessKeyId']}.json").write_text(json.dumps(identity))
    return {
        "AccessKeyId": keys["AccessKeyId"],
        "SecretAccessKey": keys["SecretAccessKey"],
        "Token": keys["SessionToken"],
    }


def main() -> None:
    address, port, Gate.upstream, folder = sys.argv[1:]
    Gate.folder = Path(folder)
    server = Server((address, int(port)), Gate)
    # With port 0 the kernel picks one.
    print(f"http://{address}:{server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    os.environ.setdefault("AWS_EC2_METADATA_DISABLED", "true")
    main()
