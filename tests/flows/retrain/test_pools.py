"""The templates of work pools hold together: every variable that an entry sets is one of its pool's, every placeholder has one."""

import json
from pathlib import Path

import prefect.server.api
import pytest
import yaml
from prefect.utilities.templating import apply_values, find_placeholders

from tests.conftest import ROOT

POOLS = ROOT / "docs/pools"
PACKAGED = Path(prefect.server.api.__file__).parent / "collections_data/views/aggregate-worker-metadata.json"


def template(kind):
    if kind == "kubernetes":
        return json.loads((POOLS / "kubernetes.json").read_text())
    return json.loads(PACKAGED.read_text())["prefect-docker"]["docker"]["default_base_job_configuration"]


@pytest.mark.parametrize("kind", ["docker", "kubernetes"])
def test_an_entry_sets_variables_that_its_pool_has_and_no_placeholder_is_left(kind):
    pool = template(kind)
    known = pool["variables"]["properties"]
    (entry,) = yaml.safe_load((POOLS / f"{kind}.yaml").read_text())["deployments"]
    given = entry["work_pool"]["job_variables"]
    assert given.keys() <= known.keys()
    assert {p.name for p in find_placeholders(pool["job_configuration"])} <= known.keys()
    values = {"name": "run", "command": "prefect flow-run execute"}
    values |= {name: described["default"] for name, described in known.items() if "default" in described} | given
    filled = apply_values(pool["job_configuration"], values, remove_notset=True)
    assert filled["env"] == given["env"]
    assert "{{" not in json.dumps(filled)


def test_the_job_of_kubernetes_mounts_its_claim_where_the_entry_looks_for_the_checkout():
    fragment = yaml.safe_load((POOLS / "kubernetes.yaml").read_text())
    (step,) = fragment["pull"]
    directory = step["prefect.deployments.steps.set_working_directory"]["directory"]
    pod = template("kubernetes")["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounts.keys() == {volume["name"] for volume in pod["volumes"]}
    assert container["workingDir"] == directory
    assert Path(directory).is_relative_to(mounts["levy"])
