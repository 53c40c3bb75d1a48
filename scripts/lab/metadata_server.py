"""EC2's instance metadata, credentials by IMDSv2 only: what a machine asks its host.

    python3 metadata_server.py ADDRESS USER_DATA_FILE

Answers as the Amazon EC2 User Guide, "Instance metadata and user data", says,
in so far as anybody here asks; listings included.
"""

import json
import secrets
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ROLE = "machine"
MAC = "02:00:00:00:00:01"
DOCUMENT = {
    "accountId": "123456789012", "architecture": "x86_64", "availabilityZone": "us-east-1a",
    "imageId": "ami-1", "instanceId": "i-0slipway", "instanceType": "t3.micro",
    "privateIp": "10.77.0.10", "region": "us-east-1", "version": "2017-09-30",
}  # fmt: skip
META_DATA = {
    "ami-id": "ami-1",
    "ami-launch-index": "0",
    "hostname": "web-1",
    "instance-id": "i-0slipway",
    "instance-type": "t3.micro",
    "local-hostname": "web-1",
    "local-ipv4": "10.77.0.10",
    "mac": MAC,
    f"network/interfaces/macs/{MAC}/device-number": "0",
    f"network/interfaces/macs/{MAC}/local-ipv4s": "10.77.0.10",
    "placement/availability-zone": "us-east-1a",
    "placement/region": "us-east-1",
    "reservation-id": "r-1",
    "security-groups": "default",
}


def credentials() -> str:
    until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 6 * 3600))
    return json.dumps(
        {"Code": "Success", "Type": "AWS-HMAC", "LastUpdated": "2026-11-23T08:10:00Z",
         "AccessKeyId": "local", "SecretAccessKey": "local", "Token": "local", "Expiration": until}
    )  # fmt: skip


class Handler(BaseHTTPRequestHandler):
    user_data = ""
    tokens: set[str] = set()  # noqa: RUF012  # of the whole server

    def do_PUT(self) -> None:
        if not self.path.endswith("/api/token"):
            return self.answer(404)
        token = secrets.token_urlsafe(16)
        self.tokens.add(token)
        return self.answer(200, token)

    def do_GET(self) -> None:
        # cloud-init asks with a token only on hardware that it knows as EC2's; what is
        # ours to test, and secret, is given to a token alone.
        known = self.headers.get("X-aws-ec2-metadata-token") in self.tokens
        if not known and "security-credentials" in self.path:
            return self.answer(401)
        _, _, path = self.path.lstrip("/").partition("/")
        return self.answer(*self.find(path.strip("/")))

    def find(self, path: str) -> tuple[int, str]:
        """Return status and body for a path below the version."""
        tree = {f"meta-data/{name}": value for name, value in META_DATA.items()}
        tree[f"meta-data/iam/security-credentials/{ROLE}"] = credentials()
        tree["dynamic/instance-identity/document"] = json.dumps(DOCUMENT)
        tree["user-data"] = self.user_data
        if path in tree:
            return 200, tree[path]
        below = [name.removeprefix(f"{path}/") for name in tree if name.startswith(f"{path}/")]
        entries = sorted({name.split("/")[0] + "/" * ("/" in name) for name in below})
        return (200, "\n".join(entries)) if entries else (404, "")

    def answer(self, status: int, body: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body.encode())))
        self.end_headers()
        self.wfile.write(body.encode())


if __name__ == "__main__":
    Handler.user_data = Path(sys.argv[2]).read_text()
    ThreadingHTTPServer((sys.argv[1], 80), Handler).serve_forever()
