"""EC2's instance metadata, credentials by IMDSv2 only: what machines ask their host.

    python3 -m develop.lab.metadata_server ADDRESS PORT FOLDER [DELAY]

FOLDER holds one file for each machine, IP-ADDRESS.json, with `instance_id`, `user_data`, `role` and
`credentials`. DELAY is how many seconds it takes for each answer. Answers as the Amazon EC2 User
Guide, "Instance metadata and user data", says, in so far as anybody here asks; listings included.
"""

import json
import secrets
import sys
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from develop.lab.server import Server


def tree(machine: dict[str, Any], address: str) -> dict[str, str]:
    """Return every path below the version, and its text."""
    # cloud-init finds a device by it, and none is meant to be found.
    mac = "02:00:00:00:00:01"
    document = {
        "accountId": "123456789012", "architecture": "x86_64", "availabilityZone": "us-east-1a",
        "imageId": "ami-1", "instanceId": machine["instance_id"], "instanceType": "t3.small",
        "privateIp": address, "region": "us-east-1", "version": "2017-09-30",
    }  # fmt: skip
    name = f"ip-{address.replace('.', '-')}"
    until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 6 * 3600))
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    keys = {
        "Code": "Success", "Type": "AWS-HMAC", "LastUpdated": now, "Expiration": until,
        **machine["credentials"],
    }  # fmt: skip
    meta_data = {
        "ami-id": "ami-1",
        "ami-launch-index": "0",
        "hostname": name,
        "iam/security-credentials/" + machine["role"]: json.dumps(keys),
        "instance-id": machine["instance_id"],
        "instance-type": "t3.small",
        "local-hostname": name,
        "local-ipv4": address,
        "mac": mac,
        f"network/interfaces/macs/{mac}/device-number": "0",
        f"network/interfaces/macs/{mac}/local-ipv4s": address,
        "placement/availability-zone": "us-east-1a",
        "placement/region": "us-east-1",
        "reservation-id": "r-1",
        "security-groups": "default",
    }
    return {
        **{f"meta-data/{path}": text for path, text in meta_data.items()},
        "dynamic/instance-identity/document": json.dumps(document),
        "user-data": machine["user_data"],
    }


class Handler(BaseHTTPRequestHandler):
    folder = Path()
    delay_seconds = 0.0
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
        address = self.client_address[0]
        file = self.folder / f"{address}.json"
        if not file.exists():
            return 404, ""
        texts = tree(json.loads(file.read_text()), address)
        if path in texts:
            return 200, texts[path]
        below = [name.removeprefix(f"{path}/") for name in texts if name.startswith(f"{path}/")]
        entries = sorted({name.split("/")[0] + "/" * ("/" in name) for name in below})
        return (200, "\n".join(entries)) if entries else (404, "")

    def answer(self, status: int, body: str = "") -> None:
        time.sleep(self.delay_seconds)
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body.encode())))
        self.end_headers()
        self.wfile.write(body.encode())


if __name__ == "__main__":
    address, port, folder, *delay = sys.argv[1:]
    Handler.folder = Path(folder)
    Handler.delay_seconds = float(delay[0]) if delay else 0.0
    Server((address, int(port)), Handler).serve_forever()
