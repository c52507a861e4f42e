"""What a run leaves in the working directory: status, log, checkpoint, reports."""
