"""The check of `levy doctor` on trained models: what stages load from outputs/ is what was trained."""

from collections.abc import Iterator

from flows.doctor.findings import Finding, ok, wrong
from flows.doctor.registry import LARGE
from levy_core.base.manifest import MANIFEST, DamagedError, check_manifest
from tasks.runtime import paths


def trained_models(deep: bool) -> Iterator[Finding]:
    """Every model in outputs/ whose training wrote a manifest has the files that it names."""
    sealed = sorted(manifest.parent for manifest in paths.OUTPUTS.glob(f"*/models/*/{MANIFEST}"))
    read = [folder for folder in sealed if deep or sum(f.stat().st_size for f in folder.iterdir()) <= LARGE]
    damaged = 0
    for folder in read:
        try:
            check_manifest(folder)
        except DamagedError as error:
            damaged += 1
            yield wrong(str(error), "levy doctor --mend")
    if not damaged:
        more = "" if len(read) == len(sealed) else f" ({len(sealed)} in all: --deep reads them)"
        yield ok(f"{len(read)} models in {paths.OUTPUTS}/ are as they were trained{more}")
