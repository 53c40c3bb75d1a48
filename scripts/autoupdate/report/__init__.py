"""What the updater tells of its machine: the report in the bucket, and `status`."""
