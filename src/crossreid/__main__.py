"""`python -m crossreid`: the same commands, for launchers such as torchrun."""

from crossreid.cli import main

main()
