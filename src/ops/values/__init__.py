"""Values: made, judged, compared, read from what people have."""
