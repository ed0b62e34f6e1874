"""``python -m cellcam`` is the command line."""

from cellcam.cli import main

main()
