"""What is stored and shared: run folders, model cards, files of vectors, the Hugging Face Hub."""
