"""Is this derivative right, and how would I know?"""

from jaxgradsweep._check import check_grad, check_hvp, check_jvp, check_vjp
from jaxgradsweep._report import DerivativeUnresolved, DerivativeWrong, Report
from jaxgradsweep._verdict import Finding
from jaxgradsweep._wording import Reason, Verdict
