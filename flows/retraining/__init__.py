"""What unattended retraining needs: new data, a branch, messages to people."""
