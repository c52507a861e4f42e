"""What a mode does otherwise than a full run."""
