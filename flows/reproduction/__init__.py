"""What `levy reproduce` needs: registered versions, comparison of outputs, a verdict."""
