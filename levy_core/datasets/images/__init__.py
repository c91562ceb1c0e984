"""Images: readers of what people bring, the long tail, the packed store."""
