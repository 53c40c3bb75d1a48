"""What the updater must not forget, and how it survives a power cut."""
