"""What a user can set: read once, from options, the environment and .env."""
