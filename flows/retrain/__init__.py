"""Unattended retraining as a flow: new data, a branch, messages to people."""
