"""What looks across documents: workers leave marks beside the runs of documents, one process then compares them."""
