"""Long work: a computing thread, and processes of their own."""
