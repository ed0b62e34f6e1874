"""Train cell classifiers: cell tables, recipes, the trainer, simulated cells."""
