"""Drawing samples from a trained model, and the registered model that people ask for them."""
