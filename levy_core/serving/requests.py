"""What a registered model may be asked for; light, so that the registry is written without loading a network."""

SAMPLER = "sampler.json"  # in the artifact: the best solver at each number of evaluations, and which is the default
# column -> MLflow type; `n` or counts in `classes` must be there, which a signature cannot say
COLUMNS = {
    "n": "long",
    "class": "string",
    "classes": "string",
    "seed": "long",
    "solver": "string",
    "discretisation": "string",
    "grid": "string",
    "steps": "long",
    "eta": "double",
    "guide": "string",
    "strength": "double",
    "guide_rho_max": "double",
    "guide_rho_min": "double",
    "boost": "double",
}
