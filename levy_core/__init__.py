"""Heavy-tailed diffusion: noise laws, schedules, solvers, data sets and metrics.

The core knows nothing of Prefect, DVC, MLflow or params files: functions take what they need as arguments.
"""
