"""The layouts of a run that satisfy the rules and fit, fastest first."""
