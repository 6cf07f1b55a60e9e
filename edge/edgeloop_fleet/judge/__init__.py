"""What the counts mean: pure functions from stored counts to verdicts, one module an idea, `judge.judge` over all."""
