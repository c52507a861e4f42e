"""What a run keeps: documents as read, rows as made, and lists of both."""
