"""Pictures to JPEGs."""
