"""What runs at a desk: ``python -m operate VERB``. make calls it; config.mk has its settings."""
