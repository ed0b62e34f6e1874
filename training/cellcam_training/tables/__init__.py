"""Cell tables: which cells there are, where their pixels lie, their classes, and their crops."""
