"""What containers get: files of secrets, the running stack, Swarm secrets."""
