"""The grid on disk: cells of samples, rows of tables, the samplers that the search found."""
