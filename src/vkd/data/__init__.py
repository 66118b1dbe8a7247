"""Images that more than one task reads."""
