"""The embedded demonstration: the method against its rivals on scikit-learn's digits."""
