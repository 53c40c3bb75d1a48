"""For those who work on this project: the demo, the bench, the lab."""
