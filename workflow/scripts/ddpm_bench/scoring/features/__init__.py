"""Feature spaces: networks that turn images into features."""
