"""The stores that the settings ask for: on this machine, or in AWS."""

from panorama.jobs import JobStore
from panorama.pictures import Pictures
from panorama.settings import Settings

# Late imports: the AWS libraries cost memory and time that a machine without them need not pay.


def open_jobs(settings: Settings) -> JobStore:
    """Return where jobs are kept.

    Raises:
        StoreError: the settings name what cannot be such a store.
    """
    if settings.queue_url:
        from panorama.cloud_jobs import CloudJobs

        return CloudJobs(settings)
    from panorama.local_jobs import LocalJobs

    return LocalJobs(settings.state_dir)


def open_pictures(settings: Settings) -> Pictures:
    """Return where pictures are kept.

    Raises:
        StoreError: the settings name what cannot be such a store.
    """
    if settings.bucket_url:
        from panorama.cloud_pictures import CloudPictures

        return CloudPictures(settings)
    from panorama.local_pictures import LocalPictures

    return LocalPictures(settings.state_dir)
