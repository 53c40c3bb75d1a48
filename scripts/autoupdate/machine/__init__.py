"""What the updater does to its machine: packages, proofs, roles and their init."""
