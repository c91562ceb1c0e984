"""What every room stands on: errors, files, tensors on disk, random streams, hashes of code."""
