"""Where releases come from: one S3 bucket, and the credentials for it."""
