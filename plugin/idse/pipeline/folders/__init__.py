"""Folders of pictures to folders of JPEGs."""
