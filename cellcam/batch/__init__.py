"""Many stacks, and huge ones: plan, run, resume, merge."""
