"""`python -m crossreid`: the same commands, for launchers such as torchrun."""

from crossreid.cli.app import main

main()
