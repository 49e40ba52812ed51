"""What the package adds to crossreid: `loss`, `method` and `dataset` register one thing each."""
