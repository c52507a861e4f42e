"""From the types of all documents to tables and columns, and how they change."""
