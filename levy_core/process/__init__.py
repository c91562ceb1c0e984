"""The noising process: noise law, schedule, parametrisation, loss, and the design that joins them."""
