"""Fields of weather."""
