"""Image embedding: a small network learns the features of big ones, without labels."""
