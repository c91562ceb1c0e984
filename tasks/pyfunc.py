"""Where models that were registered before name their loader."""

from levy_core.serving.registered import _load_pyfunc as _load_pyfunc
