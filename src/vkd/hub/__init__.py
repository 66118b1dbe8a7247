"""Models in folders and repositories as the hub of Hugging Face has them."""
