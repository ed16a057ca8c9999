"""What is heard of the package: a gallery, other pitch trackers, the pitch of swaps."""
