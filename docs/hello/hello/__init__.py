"""The example service of the README: the smallest one that keeps docs/contract.md."""
