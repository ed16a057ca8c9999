"""What can be built on this project."""
