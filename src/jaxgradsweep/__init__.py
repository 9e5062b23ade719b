"""Is this derivative right, and how would I know?

`check_grad`, `check_vjp`, `check_jvp` and `check_hvp` hold a derivative against a sweep of central differences over
many steps and return a `Report`; `estimate_grad` measures a gradient with error bars.
"""

from importlib import metadata

from jaxgradsweep._cause import Cause
from jaxgradsweep._check import check_grad, check_hvp, check_jvp, check_vjp, estimate_grad
from jaxgradsweep._consistency import Consistency
from jaxgradsweep._criteria import Criteria
from jaxgradsweep._gauss_newton import check_gauss_newton
from jaxgradsweep._grads import check_grads
from jaxgradsweep._hessian import HessianReport, check_hessian
from jaxgradsweep._locate import Blame
from jaxgradsweep._report import Classic, DerivativeUnresolved, DerivativeWrong, Part, Report
from jaxgradsweep._stages import check_stages
from jaxgradsweep._verdict import Finding
from jaxgradsweep._wording import Law, Reason, Verdict

__version__ = metadata.version("jaxgradsweep")

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
]
