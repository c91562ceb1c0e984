"""What a registered model may be asked for; light, so that the registry is written without loading a network."""

SAMPLER = "sampler.json"  # in the artifact: the best solver at each number of evaluations, and which is the default
# column -> (MLflow type, whether a request must have it)
COLUMNS = {
    "n": ("long", True),
    "class": ("string", False),
    "seed": ("long", False),
    "solver": ("string", False),
    "discretisation": ("string", False),
    "grid": ("string", False),
    "steps": ("long", False),
    "eta": ("double", False),
    "guide": ("string", False),
    "strength": ("double", False),
    "boost": ("double", False),
}
