"""Train and evaluate cell classifiers.

From the ground up: ``tables`` (labelled cells and their crops), ``judging`` (evaluation and
reports), ``fitting`` (training), ``simulated`` (cells with known evidence); ``commands`` adds
``train``, ``evaluate`` and ``benchmark`` to the command line.
"""
