"""Credentials: botocore's own providers, in botocore's own order."""

import os

from botocore.credentials import (
    ContainerProvider,
    CredentialResolver,
    Credentials,
    EnvProvider,
    InstanceMetadataProvider,
    ReadOnlyCredentials,
    SharedCredentialProvider,
)
from botocore.exceptions import BotoCoreError
from botocore.utils import InstanceMetadataFetcher

from autoupdate.build_info import PROGRAM, VERSION
from autoupdate.errors import BucketError

# The metadata service is one hop away; it answers in milliseconds or not at all.
_METADATA_SECONDS = 2
_METADATA_ATTEMPTS = 2


class CredentialChain:
    """Finds credentials and refreshes them in time.

    Environment, ``~/.aws/credentials``, a container's provider, the instance
    profile. Left out of botocore's chain is what needs a session with all of
    its models, and no server has: profiles that assume roles, SSO, processes.
    """

    def __init__(self) -> None:
        environ = os.environ
        endpoint = environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT")
        self._resolver = CredentialResolver(
            [
                EnvProvider(),
                SharedCredentialProvider(
                    environ.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"),
                    environ.get("AWS_PROFILE"),
                ),
                ContainerProvider(),
                InstanceMetadataProvider(
                    InstanceMetadataFetcher(
                        timeout=_METADATA_SECONDS,
                        num_attempts=_METADATA_ATTEMPTS,
                        user_agent=f"{PROGRAM}/{VERSION}",
                        config={"ec2_metadata_service_endpoint": endpoint},
                    )
                ),
            ]
        )
        self._found: Credentials | None = None

    def get(self) -> ReadOnlyCredentials:
        """Return credentials that are valid now.

        Raises:
            BucketError: there are none, or they could not be refreshed.
        """
        try:
            if self._found is None:
                self._found = self._resolver.load_credentials()
            if self._found is not None:
                return self._found.get_frozen_credentials()
        # botocore raises the last two for answers that it cannot use.
        except (BotoCoreError, RuntimeError, ValueError) as error:
            raise BucketError(f"cannot get AWS credentials: {error}", reached=False) from error
        raise BucketError(
            "no AWS credentials; give the instance a profile, or set AWS_ACCESS_KEY_ID",
            reached=False,
        )
