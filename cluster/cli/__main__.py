"""`python -m cluster.cli` is `atalaia`."""

from cluster.cli.main import main

main()
