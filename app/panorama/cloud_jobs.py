"""Jobs in SQS, their state as JSON objects in S3: web and vision scale apart."""

import json
from dataclasses import asdict, replace
from typing import Any

from botocore.exceptions import ClientError

from panorama.cloud import clients, split_bucket_url, told_as_store_error
from panorama.jobs import (
    DONE,
    FAILED,
    GIVEN_UP,
    LEASE_SECONDS,
    MAX_ATTEMPTS,
    STITCHING,
    Job,
    Lease,
)
from panorama.settings import Settings

# Long polling: an empty queue costs few requests, and a stopping worker waits no longer.
POLL_SECONDS = 2


class CloudJobs:
    """A queue of job IDs, and BUCKET_URL/ID/job.json for each job's state."""

    def __init__(self, settings: Settings) -> None:
        self._queue = settings.queue_url
        self._bucket, self._prefix = split_bucket_url(settings.bucket_url)
        self._clients = clients(settings)
        # Of the state of the job in hand, as last written: who finds another has lost the lease.
        self._etag = ""

    def check(self) -> None:
        with told_as_store_error(f"reach the queue {self._queue}"):
            queue = self._clients.sqs
            queue.get_queue_attributes(QueueUrl=self._queue, AttributeNames=["QueueArn"])

    def add(self, job: Job) -> None:
        self._put(job, replaces=None)
        with told_as_store_error(f"queue job {job.id}"):
            self._clients.sqs.send_message(QueueUrl=self._queue, MessageBody=job.id)

    def get(self, job_id: str) -> Job | None:
        # Without s3:ListBucket, a missing key answers 403.
        found = self._get(job_id, missing={403, 404})
        return found[0] if found else None

    def _get(self, job_id: str, missing: set[int]) -> tuple[Job, str] | None:
        """Return the job as it stands, and the ETag of its state."""
        with told_as_store_error(f"read job {job_id}"):
            try:
                answer = self._clients.s3.get_object(Bucket=self._bucket, Key=self._key(job_id))
            except ClientError as error:
                if error.response["ResponseMetadata"]["HTTPStatusCode"] in missing:
                    return None
                raise
            return Job(**json.load(answer["Body"])), answer["ETag"]

    def take(self) -> Lease | None:
        with told_as_store_error(f"take a job from {self._queue}"):
            answer = self._clients.sqs.receive_message(
                QueueUrl=self._queue,
                MaxNumberOfMessages=1,
                WaitTimeSeconds=POLL_SECONDS,
                VisibilityTimeout=LEASE_SECONDS,
                MessageSystemAttributeNames=["ApproximateReceiveCount"],
            )
        for message in answer.get("Messages", []):
            lease = self._lease(
                message["Body"],
                message["ReceiptHandle"],
                int(message["Attributes"]["ApproximateReceiveCount"]),
            )
            if lease:
                return lease
        return None

    def heartbeat(self, lease: Lease, stage: str) -> None:
        with told_as_store_error(f"keep job {lease.job.id}"):
            self._clients.sqs.change_message_visibility(
                QueueUrl=self._queue, ReceiptHandle=lease.token, VisibilityTimeout=LEASE_SECONDS
            )
        self._put(replace(lease.job, stage=stage), replaces=self._etag)

    def finish(self, lease: Lease, job: Job) -> None:
        if self._put(replace(job, stage=""), replaces=self._etag):
            self._delete(lease.token)

    def forget_older(self, seconds: float) -> list[str]:
        """Leave it to the bucket's lifecycle rule: nobody lists a bucket to empty it."""
        del seconds
        return []

    def _lease(self, job_id: str, receipt: str, attempts: int) -> Lease | None:
        # Not for a 403: a job is not taken off the queue because a policy is wrong. What is gone
        # then ends in the dead-letter queue.
        found = self._get(job_id, missing={404})
        # SQS delivers at least once: what has ended, or is gone, is not begun again.
        if found is None or found[0].state in {DONE, FAILED}:
            self._delete(receipt)
            return None
        job, self._etag = found
        if attempts > MAX_ATTEMPTS:
            self.finish(Lease(job, receipt), replace(job, state=FAILED, error=GIVEN_UP))
            return None
        job = replace(job, state=STITCHING)
        return Lease(job, receipt) if self._put(job, replaces=self._etag) else None

    def _delete(self, receipt: str) -> None:
        with told_as_store_error(f"take a message off {self._queue}"):
            self._clients.sqs.delete_message(QueueUrl=self._queue, ReceiptHandle=receipt)

    def _put(self, job: Job, *, replaces: str | None) -> bool:
        """Write the job's state, if what is there has the ETag `replaces`; tell whether it had."""
        condition: dict[str, Any] = {"IfMatch": replaces} if replaces else {}
        with told_as_store_error(f"keep the state of job {job.id}"):
            try:
                answer = self._clients.s3.put_object(
                    Bucket=self._bucket,
                    Key=self._key(job.id),
                    Body=json.dumps(asdict(job)).encode(),
                    ContentType="application/json",
                    **condition,
                )
            except ClientError as error:
                if error.response["ResponseMetadata"]["HTTPStatusCode"] in {409, 412}:
                    return False
                raise
        self._etag = answer["ETag"]
        return True

    def _key(self, job_id: str) -> str:
        return f"{self._prefix}{job_id}/job.json"
