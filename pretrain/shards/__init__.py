"""The format of tokens on disk, written by the corpus room and read by the data room."""
