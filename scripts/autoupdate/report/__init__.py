"""What the updater tells: the log, the report in the bucket, `status`."""
