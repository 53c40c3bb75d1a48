"""The one definition of a release: its format, its signature, and whom to trust."""
