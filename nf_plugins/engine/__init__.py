"""What nerfstudio's trainer lacks: resuming, atomic checkpoints, evaluation after training."""
