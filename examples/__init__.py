"""Programs that show mill-actors at work."""
