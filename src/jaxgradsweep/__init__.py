"""Is this derivative right, and how would I know?

`check_grad`, `check_vjp`, `check_jvp` and `check_hvp` hold a derivative against a sweep of central differences over
many steps and return a `Report`; `estimate_grad` measures a gradient with error bars.

Each name is loaded when it is first used: the import itself costs next to nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxgradsweep._cause import Cause
    from jaxgradsweep._check import check_grad, check_hvp, check_jvp, check_vjp, estimate_grad
    from jaxgradsweep._consistency import Consistency
    from jaxgradsweep._criteria import Criteria
    from jaxgradsweep._gauss_newton import check_gauss_newton
    from jaxgradsweep._grads import check_grads
    from jaxgradsweep._hessian import HessianReport, check_hessian
    from jaxgradsweep._locate import Blame
    from jaxgradsweep._pure import pure
    from jaxgradsweep._report import Classic, DerivativeUnresolved, DerivativeWrong, Part, Report
    from jaxgradsweep._stages import check_stages
    from jaxgradsweep._verdict import Finding
    from jaxgradsweep._wording import Law, Reason, Verdict

    __version__: str

__all__ = [
    "Blame",
    "Cause",
    "Classic",
    "Consistency",
    "Criteria",
    "DerivativeUnresolved",
    "DerivativeWrong",
    "Finding",
    "HessianReport",
    "Law",
    "Part",
    "Reason",
    "Report",
    "Verdict",
    "check_gauss_newton",
    "check_grad",
    "check_grads",
    "check_hessian",
    "check_hvp",
    "check_jvp",
    "check_stages",
    "check_vjp",
    "estimate_grad",
    "pure",
]

_HOMES = {
    "_cause": ("Cause",),
    "_check": ("check_grad", "check_hvp", "check_jvp", "check_vjp", "estimate_grad"),
    "_consistency": ("Consistency",),
    "_criteria": ("Criteria",),
    "_gauss_newton": ("check_gauss_newton",),
    "_grads": ("check_grads",),
    "_hessian": ("HessianReport", "check_hessian"),
    "_locate": ("Blame",),
    "_pure": ("pure",),
    "_report": ("Classic", "DerivativeUnresolved", "DerivativeWrong", "Part", "Report"),
    "_stages": ("check_stages",),
    "_verdict": ("Finding",),
    "_wording": ("Law", "Reason", "Verdict"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """A public name, on its first use."""
    if name == "__version__":
        value: Any = importlib.import_module("jaxgradsweep._identity").version_of("jaxgradsweep")
    elif name in _HOME:
        value = getattr(importlib.import_module(f"jaxgradsweep.{_HOME[name]}"), name)
    else:
        raise AttributeError(f"module 'jaxgradsweep' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
