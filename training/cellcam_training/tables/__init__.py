"""Cell tables: the cells of a training or an evaluation, their classes, and their crops."""
