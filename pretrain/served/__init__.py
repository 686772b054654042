"""What a run is fed, for people who ask: the samples of a step, the steps of a document, two runs compared."""
