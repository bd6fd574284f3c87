"""The loop that iterates a rule over a source, and around it: acceleration, restarts, checkpoints, batches."""
